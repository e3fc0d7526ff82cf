//! For every reader: small and large screens, light and dark, without scripts, with a keyboard or a screen reader, and
//! behind a proxy.

use std::net::SocketAddr;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;

use super::*;
use crate::support::browser::Settings;
use crate::support::{certificates, made_by_setup};

const PAGES: [&str; 9] = [
    "/",
    "/queues",
    "/tasks",
    "/workers",
    "/periodic",
    "/receivers",
    "/queue/celery",
    "/task/shop.pay",
    "/worker/w0@host",
];

const NAMES: [&str; 3] = [
    "shop.pay",
    "mail.digest",
    "a.task.with.a.name.that.is.so.long.that.it.does.not.fit.on.a.telephone.and.has.to.be.broken.or.cut",
];

#[tokio::test(flavor = "multi_thread")]
async fn nothing_overflows_and_nothing_is_out_of_reach_of_a_screen_reader() {
    let receiver = "remote_write: [{url: 'http://127.0.0.1:9/api/v1/write', name: nobody}]\n";
    let redis = Redis::start().await;
    let config = format!(
        "brokers: [{{url: {:?}, queue_interval: 1s}}]\n{receiver}",
        redis.url(0)
    );
    let celeriac = Celeriac::start(&config).await;
    celeriac.subscribed("default").await;
    for (at, name) in (0_u64..).zip(NAMES) {
        redis.publish_lives(at * 1000..at * 1000 + 10, name).await;
    }
    celeriac
        .page_when("the events", 20, |page| page.events() >= 120.0)
        .await;
    let axe = std::fs::read_to_string(made_by_setup("axe-core/package/axe.min.js")).expect("axe");
    let browser = Browser::start().await;
    for scheme in ["light", "dark"] {
        browser.prefer("prefers-color-scheme", scheme).await;
        for width in [360, 768, 1600] {
            browser.resize(width, 900).await;
            for path in PAGES {
                browser.open(&celeriac.url(path)).await;
                let wide = browser.value("document.documentElement.scrollWidth").await;
                assert!(
                    wide.as_f64() <= Some(f64::from(width)),
                    "{path} at {width}: {wide}"
                );
                // The policy of the page forbids scripts of others, so the tool comes through the debugger.
                let evaluate = serde_json::json!({"expression": &axe});
                browser.cdp("Runtime.evaluate", evaluate).await;
                let run = serde_json::json!({
                    "expression": "axe.run().then(r => JSON.stringify(r.violations.map(v => [v.id, v.nodes.map(n => n.html + ' ' + n.failureSummary)])))",
                    "awaitPromise": true,
                });
                let found = browser.cdp("Runtime.evaluate", run).await;
                assert_eq!(found["result"]["value"], "[]", "{path}, {width}, {scheme}");
            }
        }
    }
    let background = async |scheme| {
        browser.prefer("prefers-color-scheme", scheme).await;
        browser
            .value("getComputedStyle(document.body).backgroundColor")
            .await
    };
    assert_ne!(background("light").await, background("dark").await);
    // The chosen theme wins, and is remembered.
    let dark = background("dark").await;
    background("light").await;
    browser
        .find("#theme")
        .await
        .click()
        .await
        .expect("a button");
    browser
        .until(
            &format!("getComputedStyle(document.body).backgroundColor == {dark}"),
            5,
        )
        .await;
    browser.client.refresh().await.expect("a reload");
    browser
        .until(
            &format!("getComputedStyle(document.body).backgroundColor == {dark}"),
            5,
        )
        .await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_scripts_the_page_is_complete_and_loads_itself_again() {
    let (redis, celeriac) = with_tasks("", &NAMES).await;
    let browser = Browser::start_with(Settings {
        without_scripts: true,
        ..Settings::default()
    })
    .await;
    browser.open(&celeriac.url("/")).await;
    let source = browser.client.source().await.expect("a page");
    for part in [
        "shop.pay",
        "id=\"tiles\"",
        "id=\"trust\"",
        "rows-workers",
        "w0@host",
        "http-equiv=\"refresh\"",
    ] {
        assert!(source.contains(part), "no {part}");
    }
    redis.publish_lives(9000..9010, "later.task").await;
    wait_for("the page to load itself again", 40, async || {
        let source = browser
            .client
            .source()
            .await
            .map_err(|error| error.to_string())?;
        source.contains("later.task").then_some(()).ok_or(source)
    })
    .await;
    // The filter is a form, and the order is a link.
    browser
        .open(&celeriac.url("/tasks?q=mail&sort=-task"))
        .await;
    let rows = browser
        .client
        .find_all(fantoccini::Locator::Css("#rows-tasks tr"))
        .await;
    assert_eq!(rows.expect("rows").len(), 1);
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_reach_everything() {
    let (_redis, celeriac) = with_tasks("", &NAMES).await;
    let browser = Browser::start().await;
    browser.open(&celeriac.url("/")).await;
    // The script listens from when the document is complete.
    let path = "document.readyState == 'complete' && location.pathname";
    for (key, expected) in [("q", "/queues"), ("t", "/tasks"), ("k", "/workers")] {
        browser.press(key).await;
        browser.until(&format!("{path} == '{expected}'"), 10).await;
    }
    browser.press("?").await;
    browser
        .until("document.querySelector('#help').open", 5)
        .await;
    browser.press("\u{e00c}").await;
    browser
        .until("!document.querySelector('#help').open", 5)
        .await;
    browser.press("w").await;
    browser
        .until(
            "document.readyState == 'complete' && location.search.includes('window=')",
            10,
        )
        .await;
    browser.press("/").await;
    browser.until("document.activeElement.name == 'q'", 5).await;
    // What is typed into the filter is no command.
    browser.press("qtk").await;
    assert_eq!(browser.value("document.activeElement.value").await, "qtk");

    // By tabulator alone: every link and button is reached, and the focus is visible. A pause keeps their number.
    browser.open(&celeriac.url("/tasks")).await;
    browser
        .until("!document.querySelector('#pause').hidden", 5)
        .await;
    browser
        .find("#pause")
        .await
        .click()
        .await
        .expect("a button");
    let reachable = browser
        .value("[...document.querySelectorAll('a[href],button,input:not([type=hidden])')].filter(e => e.checkVisibility()).length")
        .await;
    let reachable = reachable.as_u64().expect("a number");
    let mut visited = std::collections::BTreeSet::new();
    for _ in 0..reachable + 5 {
        browser.press("\u{e004}").await;
        let focused = browser
            .value("(e => e === document.body ? '' : [...document.querySelectorAll('*')].indexOf(e) + ' ' + getComputedStyle(e).outlineStyle)(document.activeElement)")
            .await;
        let focused = focused.as_str().expect("a text").to_owned();
        if !focused.is_empty() {
            assert!(!focused.ends_with("none"), "{focused}: no outline");
            visited.insert(focused);
        }
    }
    assert!(
        visited.len() as u64 >= reachable,
        "{} of {reachable}",
        visited.len()
    );
    browser.close().await;
}

/// The body of an answer, as it arrives.
fn chunks(
    answer: reqwest::Response,
) -> impl futures_util::Stream<Item = Result<axum::body::Bytes, reqwest::Error>> {
    futures_util::stream::try_unfold(answer, async |mut answer| {
        let chunk = answer.chunk().await?;
        Ok(chunk.map(|chunk| (chunk, answer)))
    })
}

/// Answers below a path, and passes everything else on, as an Ingress does.
async fn proxy(to: String, prefix: &'static str, names_prefix: bool) -> SocketAddr {
    let client = reqwest::Client::new();
    let pass = move |request: Request| {
        let (client, to) = (client.clone(), to.clone());
        async move {
            let uri = request.uri().to_string();
            let Some(path) = uri.strip_prefix(prefix) else {
                return Response::builder()
                    .status(404)
                    .body(Body::empty())
                    .expect("an answer");
            };
            let mut asked = client.get(format!("{to}{path}"));
            if names_prefix {
                asked = asked.header("X-Forwarded-Prefix", prefix);
            }
            let answer = asked.send().await.expect("the daemon answers");
            let mut passed = Response::builder().status(answer.status());
            for (name, value) in answer.headers() {
                if name != "transfer-encoding" {
                    passed = passed.header(name, value);
                }
            }
            passed
                .body(Body::from_stream(chunks(answer)))
                .expect("an answer")
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let address = listener.local_addr().expect("an address");
    let router = Router::new().fallback(pass);
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn it_works_below_a_path_whether_the_proxy_names_it_or_not() {
    let listener = "http: {listen: \"{listen}\", external_prefix: /tools/celeriac}\n";
    for (more, names_prefix) in [(listener, false), ("", true)] {
        let (redis, celeriac) = with_tasks(more, &NAMES).await;
        let to = format!("http://127.0.0.1:{}", celeriac.port);
        let address = proxy(to, "/tools/celeriac", names_prefix).await;
        let browser = Browser::start().await;
        browser
            .open(&format!("http://{address}/tools/celeriac/"))
            .await;
        browser
            .until("document.styleSheets[0].cssRules.length > 10", 5)
            .await;
        browser
            .find("#rows-tasks th a")
            .await
            .click()
            .await
            .expect("a link");
        browser.find("#detail").await;
        browser
            .find("nav.tabs a[data-nav=tasks]")
            .await
            .click()
            .await
            .expect("a link");
        browser
            .client
            .execute("window.mark = 1", Vec::new())
            .await
            .expect("a script");
        redis.publish_lives(7000..7010, "later.task").await;
        browser
            .until(
                "document.querySelector('#rows-tasks')?.innerText.includes('later.task')",
                20,
            )
            .await;
        assert_eq!(browser.value("window.mark").await, 1);
        assert_eq!(browser.complaints().await, Vec::<String>::new());
        browser.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_asks_for_a_login_and_works_with_tls() {
    let folder = tempfile::TempDir::new().expect("a temporary folder");
    certificates::write(folder.path());
    let at = |name: &str| folder.path().join(name).display().to_string();
    let hash = bcrypt::hash("secret", 4).expect("a hash");
    let listener = format!(
        "http: {{listen: \"{{listen}}\", tls: {{cert_file: {:?}, key_file: {:?}}}, basic_auth_users: {{admin: \"{hash}\"}}}}\n",
        at("server.pem"),
        at("server.key")
    );
    let redis = Redis::start().await;
    let celeriac = Celeriac::start(&format!(
        "brokers: [{{url: {:?}}}]\n{listener}",
        redis.url(0)
    ))
    .await;
    let client = reqwest::Client::builder()
        .danger_accept_invalid_certs(true)
        .build()
        .expect("a client");
    for path in [
        "/",
        "/tasks",
        "/api/v1/status",
        "/api/v1/live?view=/",
        "/script.js",
    ] {
        let url = format!("https://127.0.0.1:{}{path}", celeriac.port);
        let refused = client.get(&url).send().await.expect("an answer");
        assert_eq!(refused.status(), 401, "{path}");
    }
    let browser = Browser::start_with(Settings {
        insecure: true,
        ..Settings::default()
    })
    .await;
    let port = celeriac.port;
    browser
        .open(&format!("https://admin:secret@127.0.0.1:{port}/"))
        .await;
    browser.find("#tiles").await;
    browser
        .until("document.styleSheets[0].cssRules.length > 10", 5)
        .await;
    browser.close().await;
}
