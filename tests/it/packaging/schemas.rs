//! src/core/generated, generated from proto/. It is checked in, so that a build needs no schema compiler.

use std::fs;

use super::file;

/// Each schema, with the package that its code is generated for.
const SCHEMAS: [(&str, &str); 4] = [
    ("prometheus", "remote_write_v1"),
    ("io.prometheus.write.v2", "remote_write_v2"),
    ("io.prometheus.client", "client_model"),
    ("celeriac.checkpoint.v1", "checkpoint"),
];

#[test]
fn generated_code_is_what_the_schemas_are() {
    let proto = file("proto");
    let schemas = SCHEMAS.map(|(_, schema)| proto.join(format!("{schema}.proto")));
    let compiled = protox::compile(schemas, [proto]).expect("valid schemas");
    let made = tempfile::tempdir().expect("a folder");
    prost_build::Config::new()
        .out_dir(made.path())
        .compile_fds(compiled)
        .expect("code");
    for (package, schema) in SCHEMAS {
        let text = fs::read_to_string(made.path().join(format!("{package}.rs"))).expect("code");
        let path = file(&format!("src/core/generated/{schema}.rs"));
        if std::env::var_os("UPDATE_DOCS").is_some() {
            fs::write(&path, &text).expect("a writable folder");
        }
        let written = fs::read_to_string(&path).unwrap_or_default();
        assert!(written == text, "{schema}.rs is stale: run `make docs`");
    }
}
