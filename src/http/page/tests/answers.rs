//! Answers over a socket: headers, errors, events.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::super::live::{Held, LISTENERS_MAX, Rendering};
use super::fixture::{NOW, hostile, usual};
use super::links;
use crate::clock;
use crate::config::StatusConfig;
use crate::http::Server;
use crate::status::Board;
use crate::status::document::{QueueRow, Status};
use crate::telemetry::readiness::Readiness;

/// A listener that shows a document.
pub(super) struct Shown {
    address: std::net::SocketAddr,
    stop: CancellationToken,
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// An answer.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().expect("text"))
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "tasks of a test end with its runtime"
)]
pub(super) fn show(status: Status, config: StatusConfig, healthy: &[&str]) -> Shown {
    let (board, mut asked) = Board::new();
    tokio::spawn(async move {
        let mut status = Arc::new(status);
        while let Some(request) = asked.recv().await {
            let _ = request.answer.send(Arc::clone(&status));
            // The time passes.
            let mut next = Status::clone(&status);
            next.at_timestamp_seconds += 1.0;
            status = Arc::new(next);
        }
    });
    let bound = Server::bind(([127, 0, 0, 1], 0).into(), Vec::new(), Readiness::default());
    let healthy = healthy.iter().map(|path| (*path).to_owned());
    let server = bound
        .expect("a free port")
        .with_probes(healthy.collect(), Vec::new());
    let server = server.with_status(board, config);
    let (address, stop) = (
        server.address().expect("an address"),
        CancellationToken::new(),
    );
    tokio::spawn(server.run(stop.clone()));
    Shown { address, stop }
}

impl Shown {
    async fn open(&self, path: &str, headers: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address)
            .await
            .expect("a connection");
        let head = format!("GET {path} HTTP/1.1\r\nHost: h\r\n{headers}\r\n");
        stream.write_all(head.as_bytes()).await.expect("sent");
        stream
    }

    pub(super) async fn get(&self, path: &str, headers: &str) -> Answer {
        let headers = format!("{headers}Connection: close\r\n");
        let mut stream = self.open(path, &headers).await;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.expect("an answer");
        let end = bytes
            .windows(4)
            .position(|four| four == b"\r\n\r\n")
            .expect("a head");
        let head = String::from_utf8(bytes[..end].to_vec()).expect("text");
        let mut lines = head.lines();
        let status = lines
            .next()
            .and_then(|line| line.split(' ').nth(1))
            .expect("a status");
        let pairs = lines.map(|line| {
            let (name, value) = line.split_once(": ").expect("a header");
            let name: http::HeaderName = name.parse().expect("a name");
            (name, HeaderValue::try_from(value).expect("a value"))
        });
        Answer {
            status: status.parse().expect("a status"),
            headers: pairs.collect(),
            body: bytes[end + 4..].to_vec(),
        }
    }
}

async fn line(reader: &mut BufReader<TcpStream>) -> String {
    let mut line = String::new();
    let read = reader.read_line(&mut line);
    tokio::time::timeout(Duration::from_secs(10), read)
        .await
        .expect("in time")
        .expect("a line");
    line.trim_end().to_owned()
}

/// The next event, or `None` at the end.
async fn event(reader: &mut BufReader<TcpStream>) -> Option<Value> {
    loop {
        let line = line(reader).await;
        if let Some(data) = line.strip_prefix("data: ") {
            return Some(serde_json::from_str(data).expect("JSON"));
        }
        // The last chunk.
        if line == "0" {
            return None;
        }
    }
}

#[tokio::test]
async fn every_answer_has_the_headers_of_security() {
    let shown = show(usual(), StatusConfig::default(), &[]);
    for (path, status, kind) in [
        ("/", 200, "text/html; charset=utf-8"),
        ("/tasks?q=re:(", 400, "text/html; charset=utf-8"),
        ("/task/none", 404, "text/html; charset=utf-8"),
        ("/api/v1/status", 200, "application/json"),
        ("/api/v1/status?q=re:(", 400, "application/json"),
        ("/api/v1/queues/none", 404, "application/json"),
        ("/api/v1/live?view=none", 400, "application/json"),
        ("/favicon.ico", 204, "image/x-icon"),
        ("/style.css", 200, "text/css; charset=utf-8"),
        ("/script.js", 200, "text/javascript; charset=utf-8"),
    ] {
        let answer = shown.get(path, "").await;
        assert_eq!(answer.status.as_u16(), status, "{path}");
        assert_eq!(answer.header("content-type"), kind, "{path}");
        let policy = answer.header("content-security-policy");
        assert!(
            policy.starts_with("default-src 'none'; style-src 'self'"),
            "{path}: {policy}"
        );
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("referrer-policy"), "no-referrer");
        let store = answer.header("cache-control");
        let asset = path.ends_with(".css") || path.ends_with(".js");
        assert_eq!(store == "no-store", !asset, "{path}: {store}");
    }
    let gzip = shown.get("/", "Accept-Encoding: gzip\r\n").await;
    assert_eq!(gzip.header("content-encoding"), "gzip");
    assert_eq!(gzip.body[..2], [0x1f, 0x8b]);
}

#[tokio::test]
async fn the_api_refuses_requests_of_other_sites() {
    let shown = show(usual(), StatusConfig::default(), &[]);
    for (path, site, allowed) in [
        ("/api/v1/status", "cross-site", false),
        ("/api/v1/status", "same-site", false),
        ("/api/v1/status", "same-origin", true),
        ("/api/v1/status", "none", true),
        ("/api/v1/queues/celery", "cross-site", false),
        ("/api/v1/queues/celery", "same-origin", true),
        ("/api/v1/live?view=/", "cross-site", false),
        ("/", "cross-site", true),
    ] {
        let answer = shown
            .get(path, &format!("Sec-Fetch-Site: {site}\r\n"))
            .await;
        let expected = if allowed { 200 } else { 403 };
        assert_eq!(answer.status.as_u16(), expected, "{path} {site}");
    }
}

#[tokio::test]
async fn the_json_is_the_document_and_its_rows_can_be_filtered() {
    let shown = show(usual(), StatusConfig::default(), &[]);
    let answer = shown.get("/api/v1/status?sort=-waiting", "").await;
    let mut read: Status = serde_json::from_slice(&answer.body).expect("a document");
    let mut expected = usual();
    for status in [&mut read, &mut expected] {
        status
            .queues
            .sort_by(|one, other| one.name.cmp(&other.name));
        status.tasks.sort_by(|one, other| one.name.cmp(&other.name));
        status
            .periodic
            .sort_by(|one, other| one.name.cmp(&other.name));
        status
            .receivers
            .sort_by(|one, other| one.name.cmp(&other.name));
    }
    assert_eq!(read, expected);
    // Not one field is missing or renamed.
    let whole = serde_json::to_value(usual()).expect("JSON");
    let keys = |value: &Value| {
        let keys = value.as_object().expect("an object").keys().cloned();
        keys.collect::<Vec<_>>()
    };
    assert_eq!(keys(&answer.json()), keys(&whole));
    let filtered = shown
        .get("/api/v1/status?q=mail&queue=emails", "")
        .await
        .json();
    let names: Vec<&str> = filtered["tasks"]
        .as_array()
        .expect("rows")
        .iter()
        .filter_map(|row| row["name"].as_str())
        .collect();
    assert_eq!(names, ["shop.mail.receipt", "shop.mail.newsletter"]);
    assert_eq!(filtered["summary"], whole["summary"]);
    let error = shown.get("/api/v1/status?window=2m", "").await.json();
    assert_eq!(
        error,
        json!({"error": "window: expected 1m, 5m or 1h, found `2m`"})
    );
}

#[tokio::test]
async fn a_scaler_reads_one_flat_object_for_each_queue() {
    let mut status = hostile();
    for broker in ["eu", "us"] {
        status.queues.push(QueueRow {
            broker: Some(broker.into()),
            name: "shared".into(),
            waiting: Some(7),
            ..QueueRow::default()
        });
    }
    let shown = show(status, StatusConfig::default(), &[]);
    let reports = shown.get("/api/v1/queues/reports", "").await;
    let expected = json!({
        "name": "reports", "broker": null, "length": 8412, "unacked": 8, "oldest_age_seconds": 1402.0, "slots": 8,
        "active": 8, "saturation": 0.5, "drain_seconds": null
    });
    assert_eq!(reports.json(), expected);
    for (path, status) in [
        ("/api/v1/queues/shared", 409),
        ("/api/v1/queues/shared?broker=eu", 200),
        ("/api/v1/queues/shared?broker=asia", 404),
        ("/api/v1/queues/a%2Fb%252Fc%3Fd%23e%26f=g", 200),
        ("/api/v1/queues/none", 404),
    ] {
        let answer = shown.get(path, "").await;
        assert_eq!(answer.status.as_u16(), status, "{path}");
        assert_eq!(answer.json().get("error").is_some(), status != 200);
    }
}

#[tokio::test]
async fn links_follow_the_proxy_unless_a_prefix_is_configured() {
    let forwarded = |prefix: &str| format!("X-Forwarded-Prefix: {prefix}\r\n");
    let brand = |answer: Answer| {
        let html = String::from_utf8(answer.body).expect("text");
        let at = html.find("class=\"brand\" href=\"").expect("a brand");
        html[at + 20..]
            .split('"')
            .next()
            .expect("an end")
            .to_owned()
    };
    let shown = show(usual(), StatusConfig::default(), &[]);
    for (prefix, home) in [
        ("/celery/", "/celery/"),
        ("/a/b-c_d.e~f", "/a/b-c_d.e~f/"),
        ("//evil.example.com", "/"),
        ("https://evil.example.com", "/"),
        ("/a/../b", "/"),
        ("/\"><script>", "/"),
        ("/", "/"),
    ] {
        let answer = shown.get("/", &forwarded(prefix)).await;
        assert_eq!(brand(answer), home, "{prefix}");
    }
    let config = StatusConfig {
        external_prefix: Some("/own".to_owned()),
        ..StatusConfig::default()
    };
    let shown = show(usual(), config, &[]);
    assert_eq!(brand(shown.get("/", &forwarded("/other")).await), "/own/");
}

#[tokio::test]
async fn a_probe_keeps_its_path_and_the_overview_moves() {
    let shown = show(usual(), StatusConfig::default(), &["/", "/tasks"]);
    for path in ["/", "/tasks"] {
        assert_eq!(shown.get(path, "").await.body, b"celeriac is healthy\n");
    }
    let overview = shown.get("/status", "").await;
    let html = String::from_utf8(overview.body).expect("text");
    assert!(html.contains("class=\"brand\" href=\"/status\""));
    assert!(
        html.contains("view=%2F&#38;at="),
        "the view has the same name"
    );
}

#[tokio::test]
async fn an_open_page_gets_all_of_it_and_then_what_changed() {
    let shown = show(usual(), StatusConfig::default(), &[]);
    let stream = shown.open("/api/v1/live?view=/queues&q=e", "").await;
    let mut reader = BufReader::new(stream);
    let first = event(&mut reader).await.expect("an event");
    assert_eq!(first["as_of"], "22:13:20 UTC");
    let order = first["order"]["queues"].as_array().expect("ids");
    assert_eq!(order.len(), 4, "{first}");
    let row = first["set"][order[0].as_str().expect("an id")]
        .as_str()
        .expect("a row");
    assert!(row.contains("<bdi>reports</bdi></a></th>"), "{row}");
    assert!(
        first["set"]["title"]
            .as_str()
            .expect("a title")
            .starts_with("<title id=\"title\">")
    );
    let second = event(&mut reader).await.expect("an event");
    assert_eq!(second["as_of"], "22:13:21 UTC");
    // Only how long a problem has been there.
    let changed: Vec<&String> = second["set"]
        .as_object()
        .expect("elements")
        .keys()
        .collect();
    assert_eq!(changed, ["attention"], "{second}");
    assert_eq!(second["order"], json!({}));
    shown.stop.cancel();
    assert_eq!(event(&mut reader).await, None, "it ends with the daemon");
}

#[tokio::test]
async fn the_last_listener_is_the_sixty_fourth() {
    let shown = show(usual(), StatusConfig::default(), &[]);
    let mut open = Vec::new();
    for _ in 0..LISTENERS_MAX {
        let mut reader = BufReader::new(shown.open("/api/v1/live?view=/", "").await);
        assert_eq!(line(&mut reader).await, "HTTP/1.1 200 OK");
        open.push(reader);
    }
    let refused = shown.get("/api/v1/live?view=/", "").await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.header("retry-after"), "15");
    assert_eq!(shown.get("/", "").await.status, StatusCode::OK);
    open.pop();
    for _ in 0..100 {
        let stream = shown.open("/api/v1/live?view=/", "").await;
        let mut reader = BufReader::new(stream);
        if line(&mut reader).await == "HTTP/1.1 200 OK" {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("a place is free again");
}

/// What a page does with an event.
fn apply(page: &mut std::collections::BTreeMap<String, String>, orders: &mut Value, event: &str) {
    let data = event.strip_prefix("data: ").expect("an event");
    let event: Value = serde_json::from_str(data).expect("JSON");
    for (id, html) in event["set"].as_object().expect("elements") {
        page.insert(id.clone(), html.as_str().expect("HTML").to_owned());
    }
    for (name, ids) in event["order"].as_object().into_iter().flatten() {
        orders[name] = ids.clone();
    }
    let rows: Vec<&str> = orders
        .as_object()
        .expect("tables")
        .values()
        .flat_map(|ids| ids.as_array().expect("ids"))
        .filter_map(Value::as_str)
        .collect();
    if event.get("at").is_some() {
        page.retain(|id, html| !html.starts_with("<tr") || rows.contains(&&**id));
    }
}

#[test]
fn a_slow_page_skips_renderings_and_misses_nothing() {
    let links = links("/tasks?all=1");
    let render = |status: Status| Rendering::new(Arc::new(status), &links, clock::monotonic());
    let (mut page, mut orders) = (std::collections::BTreeMap::new(), json!({}));
    let mut held = Held::default();
    let mut largest = 0;
    let mut status = super::fixture::large();
    for step in 0..6_usize {
        status.at_timestamp_seconds = NOW + f64::from(u32::try_from(step).unwrap());
        // Rows come, go, return and change while only a part has been sent.
        let gone = status.tasks.remove(step * 7);
        status.tasks.push(gone);
        status.tasks[100].failed += 1;
        status.tasks[101].running += 1;
        if step == 3 {
            status.tasks.truncate(3000);
        } else if step == 4 {
            status
                .tasks
                .extend(super::fixture::large().tasks.drain(4000..));
        }
        let rendering = render(status.clone());
        for _ in 0..if step == 5 { 1000 } else { 20 } {
            let Some((event, more)) = held.event(&rendering) else {
                break;
            };
            // Besides, the last one of an update lists all rows.
            largest = largest.max(event.find("\"order\"").unwrap_or(event.len()));
            apply(&mut page, &mut orders, &event);
            if !more {
                break;
            }
        }
    }
    let expected = render(status);
    assert_eq!(Held::all(&expected).event(&expected), None);
    assert_eq!(held.event(&expected), None);
    let mut whole = (std::collections::BTreeMap::new(), json!({}));
    let mut other = Held::default();
    while let Some((event, _)) = other.event(&expected) {
        apply(&mut whole.0, &mut whole.1, &event);
    }
    assert_eq!(orders, whole.1);
    assert!(page == whole.0, "the page shows the newest rendering");
    assert!(largest < 80 << 10, "{largest} bytes");
}

/// Serves a document to look at: `PAGE=hostile cargo test --lib -- --ignored --nocapture serve_the_page`.
#[tokio::test]
#[ignore = "serves until it is stopped"]
async fn serve_the_page() {
    let status = match std::env::var("PAGE").as_deref() {
        Ok("hostile") => hostile(),
        Ok("large") => super::fixture::large(),
        Ok("first") => super::fixture::first_start(),
        Ok("stale") => {
            let mut status = usual();
            status.brokers[0].connected = false;
            status
        }
        _ => usual(),
    };
    let shown = show(status, StatusConfig::default(), &[]);
    eprintln!("http://{}/", shown.address);
    std::future::pending::<()>().await;
}
