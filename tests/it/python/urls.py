"""What Kombu makes of broker URLs, without connecting: for each of URLS, a JSON list, the parameters of each server in the
order in which they are tried, or null if Celery refuses the URL."""

import inspect
import json
import os
import ssl
from types import SimpleNamespace
from unittest import mock

import amqp
import amqp.transport
from kombu import Connection
from kombu.transport import pyamqp


class Connected(Exception):
    """Raised in place of connecting."""


def tls(options):
    if not options:
        return None
    # redis-py checks certificates unless told otherwise.
    verify = options.get("ssl_cert_reqs", ssl.CERT_REQUIRED)
    files = [options.get(f"ssl_{name}") for name in ("ca_certs", "certfile", "keyfile")]
    return [verify != ssl.CERT_NONE, *files]


def server_of_amqp(transport):
    with mock.patch.object(pyamqp.Connection, "connect", side_effect=Connected):
        with mock.patch.object(pyamqp.Connection, "__init__", autospec=True, return_value=None) as made:
            try:
                transport.establish_connection()
            except Connected:
                pass
    made = made.call_args.kwargs
    host, port = made["host"].rsplit(":", 1)
    options = made["ssl"] if isinstance(made["ssl"], dict) else {}
    # What py-amqp would do with the options.
    inspect.signature(amqp.transport.SSLTransport._wrap_socket_sni).bind(None, None, **options)
    connect_timeout = made["connect_timeout"]
    if isinstance(connect_timeout, str):
        raise TypeError("py-amqp passes it to settimeout")
    encrypted = [False, None, None, None] if made["ssl"] else None
    return [host, int(port), made["userid"], made["password"], made["virtual_host"], encrypted, made["heartbeat"] or None]


def server_of_redis(client, transport):
    channel_type = type(transport).Channel
    # Its constructor connects.
    channel = channel_type.__new__(channel_type)
    channel.connection = SimpleNamespace(client=client, default_port=transport.default_port)
    channel._registered = False
    made = channel._connparams()
    encrypted = tls({key: value for key, value in made.items() if key.startswith("ssl_")})
    host = made.get("path") or made["host"]
    return [host, made.get("port"), made["username"], made["password"], made["db"], encrypted, None]


def servers(url):
    client = Connection(url)
    found = []
    for _ in client.alt or [url]:
        transport = client.transport
        redis = transport.driver_type == "redis"
        found.append(server_of_redis(client, transport) if redis else server_of_amqp(transport))
        if client.alt:
            client.maybe_switch_next()
            client._transport = None
    return found


def verdict(url):
    try:
        return servers(url)
    except (KeyError, TypeError, ValueError):
        return None


print(json.dumps([verdict(url) for url in json.loads(os.environ["URLS"])]))
