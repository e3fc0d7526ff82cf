"""Checks manifests and prints them as a JSON list.

Kubernetes manifests are checked against its own schemas, those of the Prometheus operator and KEDA against models generated
from their CRDs, and those of OpenShift against its OpenAPI specification. Unknown fields are always errors.

Usage: manifests.py OPENSHIFT_OPENAPI.json.gz < manifests.yaml
"""

import functools
import gzip
import json
import sys

import yaml

# The validators are imported where they are needed, because some take seconds to import.

# The oldest Kubernetes version that the chart supports, and the newest with published schemas.
VERSIONS = ["1.27.0", "1.37.0"]


class UniqueKeys(yaml.SafeLoader):
    """A loader that rejects duplicate keys, of which YAML would silently drop one."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        twice = {key for key in keys if keys.count(key) > 1}
        if twice:
            raise yaml.YAMLError(f"twice in one mapping: {sorted(twice)} {node.start_mark}")
        return super().construct_mapping(node, deep)


def strict(schema):
    """A copy of a schema that rejects unknown fields."""
    if isinstance(schema, list):
        return [strict(value) for value in schema]
    if not isinstance(schema, dict):
        return schema
    copy = {key: strict(value) for key, value in schema.items()}
    if isinstance(copy.get("properties"), dict) and "additionalProperties" not in copy:
        copy["additionalProperties"] = False
    if copy.get("format") == "int-or-string":
        copy["type"] = ["string", "integer"]
    return copy


@functools.cache
def openshift_schemas(path):
    with gzip.open(path) as file:
        definitions = strict(json.load(file)["definitions"])
    # A template may contain any object.
    definitions["io.k8s.apimachinery.pkg.runtime.RawExtension"] = {"type": "object"}
    # The server always writes these, but manifests need not.
    definitions["com.github.openshift.api.build.v1.BuildConfig"]["required"].remove("status")
    definitions["com.github.openshift.api.build.v1.BuildConfigSpec"]["required"].remove("nodeSelector")
    return definitions


def schema_of(manifest, openapi):
    api, kind = manifest["apiVersion"], manifest["kind"]
    group, _, version = api.partition("/")
    if group == "monitoring.coreos.com":
        from cloudcoil.models.prometheus_operator import v1 as prometheus_operator

        schema = strict(getattr(prometheus_operator, kind).model_json_schema(by_alias=True))
        # The models have defaults for all of these.
        schema["required"] = ["apiVersion", "kind", "metadata", "spec"]
        return schema
    if group == "keda.sh":
        from cloudcoil.models.keda import v1alpha1 as keda

        schema = strict(getattr(keda, kind).model_json_schema(by_alias=True))
        schema["required"] = ["apiVersion", "kind", "metadata", "spec"]
        return schema
    if group.endswith(".openshift.io"):
        name = f"com.github.openshift.api.{group.split('.')[0]}.{version}.{kind}"
        openshift = openshift_schemas(openapi)
        if name not in openshift:
            raise KeyError(name)
        return {"$ref": f"#/definitions/{name}", "definitions": openshift}
    return None


def problems(manifest, openapi):
    try:
        schema = schema_of(manifest, openapi)
    except (AttributeError, KeyError) as unknown:
        return [f"no such kind: {unknown}"]
    if schema is not None:
        import jsonschema

        validator = jsonschema.Draft202012Validator(schema)
        return [f"{error.json_path}: {error.message[:300]}" for error in validator.iter_errors(manifest)]
    import kubernetes_validate

    found = []
    for version in VERSIONS:
        try:
            kubernetes_validate.validate(manifest, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            found.append(f"{version}: {'.'.join(map(str, error.path))}: {error.message[:300]}")
        except Exception as error:
            found.append(f"{version}: {type(error).__name__}: {error}")
    return found


def main():
    manifests = [manifest for manifest in yaml.load_all(sys.stdin, UniqueKeys) if manifest is not None]
    found = [
        f"{manifest['kind']} {manifest['metadata']['name']}: {problem}"
        for manifest in manifests
        for problem in problems(manifest, sys.argv[1])
    ]
    if found:
        sys.exit("\n".join(found))
    json.dump(manifests, sys.stdout)


main()
