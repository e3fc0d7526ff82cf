//! A Pushgateway without persistence, and a fake one for responses that a real one never sends.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, Response, StatusCode, Uri};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::exposition::Exposition;
use super::process::Process;
use super::{free_port, made_by_setup, wait_for};

pub type Labels = BTreeMap<String, String>;

pub struct Pushgateway {
    pub port: u16,
    folder: TempDir,
    program: String,
    more: Vec<String>,
    process: Process,
}

impl Pushgateway {
    /// Debian's 1.5.1.
    pub async fn start() -> Self {
        Self::start_program("prometheus-pushgateway".to_owned(), &[]).await
    }

    /// 1.11, installed below `target/`.
    pub async fn start_1_11() -> Self {
        let program = made_by_setup("pushgateway-1.11/usr/bin/prometheus-pushgateway");
        Self::start_program(program.display().to_string(), &[]).await
    }

    /// 1.5.1 with a path prefix.
    pub async fn start_below(prefix: &str) -> Self {
        let prefix = format!("--web.route-prefix={prefix}");
        Self::start_program("prometheus-pushgateway".to_owned(), &[&prefix]).await
    }

    async fn start_program(program: String, more: &[&str]) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let port = free_port();
        let more: Vec<_> = more.iter().map(|&word| word.to_owned()).collect();
        let process = Self::spawn(&program, &more, port, &folder);
        let mut server = Self {
            port,
            folder,
            program,
            more,
            process,
        };
        server.up().await;
        server
    }

    fn spawn(program: &str, more: &[String], port: u16, folder: &TempDir) -> Process {
        let mut command = Command::new(program);
        command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
        // Debian's default is a file below /var/lib, which all tests would share.
        command.arg("--persistence.file=");
        command.args(more);
        Process::start("pushgateway", &mut command, folder.path())
    }

    async fn up(&mut self) {
        let port = self.port;
        wait_for("pushgateway", 20, async || {
            self.process.must_run();
            let stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await;
            stream.map(drop).map_err(|error| error.to_string())
        })
        .await;
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn stop(&mut self) {
        self.process.kill();
    }

    pub async fn start_again(&mut self) {
        self.process = Self::spawn(&self.program, &self.more, self.port, &self.folder);
        self.up().await;
    }

    /// Returns its page with all groups.
    pub async fn page(&self) -> Exposition {
        Exposition::parse(&self.text("/metrics").await)
    }

    /// Returns the value of the only series with this name and these labels, among others.
    pub async fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let page = self.page().await;
        let mut found = page.samples.iter();
        let found = found.find(|(series, _)| series.name == name && series.has(labels));
        found.map(|(_, value)| *value)
    }

    /// Waits until a series has the expected value, or is absent.
    pub async fn has(&self, name: &str, labels: &[(&str, &str)], expected: Option<f64>) {
        wait_for("a value in the Pushgateway", 20, async || {
            let found = self.value(name, labels).await;
            if found == expected {
                Ok(())
            } else {
                Err(format!("{name}: {found:?}, expected {expected:?}"))
            }
        })
        .await;
    }

    /// Returns the labels of all its groups.
    pub async fn groups(&self) -> Vec<Labels> {
        let groups = self.details().await;
        let labels = groups.iter().map(|group| {
            serde_json::from_value(group["labels"].clone()).expect("labels are texts")
        });
        labels.collect()
    }

    /// Returns all groups as reported by its API.
    pub async fn details(&self) -> Vec<Value> {
        let text = self.text("/api/v1/metrics").await;
        let answer: Value = serde_json::from_str(&text).expect("JSON");
        // It returns null if there are none.
        answer["data"].as_array().cloned().unwrap_or_default()
    }

    /// Sends a request as another client, and returns the status.
    pub async fn ask(&self, method: Method, path: &str, body: &'static str) -> u16 {
        let url = format!("{}{path}", self.url());
        let request = reqwest::Client::new().request(method, url).body(body);
        let answer = request.send().await.expect("an answer");
        answer.status().as_u16()
    }

    async fn text(&self, path: &str) -> String {
        let url = format!("{}{path}", self.url());
        let answer = reqwest::get(url).await.expect("an answer");
        answer.text().await.expect("a body")
    }
}

/// The fake gateway's next response.
#[derive(Clone, Copy, Debug)]
pub enum Answer {
    Status(u16),
    RetryAfter(u16, u64),
    /// Never responds.
    Silence,
}

/// A request that the fake gateway received.
#[derive(Clone, Debug)]
pub struct Got {
    pub at: Instant,
    pub method: Method,
    pub path: String,
    pub headers: HeaderMap,
    pub body: String,
}

impl Got {
    /// Returns the value of a series in the body.
    pub fn value(&self, series: &str) -> Option<f64> {
        let line = self.body.lines().find(|line| line.starts_with(series))?;
        line.rsplit(' ').next()?.parse().ok()
    }
}

pub struct Double {
    pub address: SocketAddr,
    state: Arc<Mutex<DoubleState>>,
    serving: JoinHandle<()>,
}

#[derive(Default)]
struct DoubleState {
    got: Vec<Got>,
    script: VecDeque<Answer>,
    always: Option<Answer>,
}

impl Double {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound listener");
        let state = Arc::new(Mutex::new(DoubleState::default()));
        let router = Router::new().fallback(take).with_state(Arc::clone(&state));
        let serving = tokio::spawn(async move {
            axum::serve(listener, router)
                .await
                .expect("serving does not end");
        });
        Self {
            address,
            state,
            serving,
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Sets the responses to the next requests; after these, 200.
    pub fn answer(&self, answers: &[Answer]) {
        let mut state = self.state.lock().expect("no test panics while it looks");
        state.script.extend(answers);
    }

    pub fn answer_always(&self, answer: Answer) {
        let mut state = self.state.lock().expect("no test panics while it looks");
        state.always = Some(answer);
    }

    pub fn got(&self) -> Vec<Got> {
        let state = self.state.lock().expect("no test panics while it looks");
        state.got.clone()
    }

    /// Waits until there were at least `count` requests in total.
    pub async fn got_at_least(&self, count: usize) -> Vec<Got> {
        wait_for("requests", 30, async || {
            let got = self.got();
            if got.len() >= count {
                Ok(got)
            } else {
                Err(format!("{} of {count}", got.len()))
            }
        })
        .await
    }
}

impl Drop for Double {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn take(
    State(state): State<Arc<Mutex<DoubleState>>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let answer = {
        let mut state = state.lock().expect("no test panics while it looks");
        state.got.push(Got {
            at: Instant::now(),
            method,
            path: uri.path().to_owned(),
            headers,
            body: String::from_utf8_lossy(&body).into_owned(),
        });
        let always = state.always;
        state.script.pop_front().or(always)
    };
    let status = |status: u16| {
        let status = StatusCode::from_u16(status).expect("a status");
        Response::builder().status(status)
    };
    let response = match answer {
        None => status(200),
        Some(Answer::Status(code)) => status(code),
        Some(Answer::RetryAfter(code, seconds)) => status(code).header("retry-after", seconds),
        Some(Answer::Silence) => {
            tokio::time::sleep(Duration::from_secs(600)).await;
            status(500)
        }
    };
    response.body(Body::empty()).expect("an answer")
}
