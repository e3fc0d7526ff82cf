//! HTTP endpoints that record requests and answer as a test decides, including one that issues tokens.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, Response, Uri};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A recorded request.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: Method,
    pub uri: Uri,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Asked {
    /// Returns the value of a header; empty if it is absent.
    pub fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.map_or("", |value| value.to_str().expect("text"))
    }
}

/// A status, the value of `Location`, and a body.
pub struct Reply(pub u16, pub Option<String>, pub String);

impl Reply {
    pub fn status(status: u16) -> Self {
        Self(status, None, String::new())
    }
}

type Seen = Arc<Mutex<Vec<Asked>>>;
type Judge = dyn Fn(&Asked) -> Reply + Send + Sync;

pub struct Endpoint {
    pub address: SocketAddr,
    asked: Seen,
    serving: JoinHandle<()>,
}

impl Endpoint {
    pub async fn start(judge: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound listener");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let judge: Arc<Judge> = Arc::new(judge);
        let router = Router::new()
            .fallback(answer)
            .with_state((Arc::clone(&asked), judge));
        let serving = tokio::spawn(async move {
            axum::serve(listener, router)
                .await
                .expect("serving does not end");
        });
        Self {
            address,
            asked,
            serving,
        }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("no panic").clone()
    }

    /// Returns the latest request.
    pub fn last(&self) -> Asked {
        self.asked().pop().expect("a request")
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn answer(
    State((seen, judge)): State<(Seen, Arc<Judge>)>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let asked = Asked {
        method,
        uri,
        headers,
        body,
    };
    seen.lock().expect("no panic").push(asked.clone());
    let Reply(status, location, text) = judge(&asked);
    let mut response = Response::builder().status(status);
    if let Some(location) = location {
        response = response.header("location", location);
    }
    response.body(Body::from(text)).expect("a response")
}

/// The requirements and responses of a token endpoint (RFC 6749, 2.3.1 and 4.4).
#[derive(Clone)]
pub struct TokenRules {
    pub secret: String,
    /// Whether it accepts the client secret only in the form, not by basic auth.
    pub in_form: bool,
    pub expires_in: Option<u64>,
    valid: BTreeSet<String>,
    issued: u64,
}

pub struct TokenServer {
    pub endpoint: Endpoint,
    rules: Arc<Mutex<TokenRules>>,
}

impl TokenServer {
    /// Starts an endpoint for the client `celeriac:1`, whose name shows whether it is encoded, and the scopes `read
    /// write`.
    pub async fn start(secret: &str) -> Self {
        let rules = Arc::new(Mutex::new(TokenRules {
            secret: secret.to_owned(),
            in_form: false,
            expires_in: Some(3600),
            valid: BTreeSet::new(),
            issued: 0,
        }));
        let judging = Arc::clone(&rules);
        let endpoint =
            Endpoint::start(move |asked| judging.lock().expect("no panic").judge(asked)).await;
        Self { endpoint, rules }
    }

    pub fn change(&self, change: impl FnOnce(&mut TokenRules)) {
        change(&mut self.rules.lock().expect("no panic"));
    }

    /// Revokes all tokens issued so far.
    pub fn revoke(&self) {
        self.change(|rules| rules.valid.clear());
    }

    pub fn issued(&self) -> u64 {
        self.rules.lock().expect("no panic").issued
    }

    /// Starts a receiver that accepts only valid tokens.
    pub async fn guard(&self) -> Endpoint {
        let rules = Arc::clone(&self.rules);
        Endpoint::start(move |asked| {
            let token = asked.header("authorization").strip_prefix("Bearer ");
            let good = |token| rules.lock().expect("no panic").valid.contains(token);
            Reply::status(if token.is_some_and(good) { 204 } else { 401 })
        })
        .await
    }
}

impl TokenRules {
    fn judge(&mut self, asked: &Asked) -> Reply {
        let form: Vec<(String, String)> = url::form_urlencoded::parse(&asked.body)
            .into_owned()
            .collect();
        let field = |name: &str| {
            let mut found = form.iter().filter(|(key, _)| key == name);
            let value = found.next().map(|(_, value)| value.as_str());
            assert!(found.next().is_none(), "{name} stands there twice");
            value
        };
        let secret: String = url::form_urlencoded::byte_serialize(self.secret.as_bytes()).collect();
        let both = STANDARD.encode(format!("celeriac%3A1:{secret}"));
        let by_header = asked.header("authorization") == format!("Basic {both}");
        let by_form = field("client_id") == Some("celeriac:1")
            && field("client_secret") == Some(self.secret.as_str())
            && asked.header("authorization").is_empty();
        if (self.in_form && !by_form) || (!self.in_form && !by_header) {
            // Like some endpoints, it repeats what it received.
            let basic = asked
                .header("authorization")
                .strip_prefix("Basic ")
                .unwrap_or("");
            let decoded = STANDARD.decode(basic).expect("base64");
            let text = format!(
                "{{\"error\": \"invalid_client\", \"not\": \"{basic}\", \"or\": \"{}\", \"form\": {form:?}}}",
                String::from_utf8_lossy(&decoded)
            );
            return Reply(401, None, text);
        }
        let asks = asked.method == Method::POST
            && asked.header("content-type") == "application/x-www-form-urlencoded"
            && field("grant_type") == Some("client_credentials")
            && field("scope") == Some("read write")
            && field("audience") == Some("a&b");
        if !asks {
            return Reply(400, None, "{\"error\": \"invalid_request\"}".to_owned());
        }
        self.issued += 1;
        let token = format!("canary-token-{}", self.issued);
        self.valid.insert(token.clone());
        let lifetime = self.expires_in;
        let lifetime = lifetime.map_or(String::new(), |some| format!(", \"expires_in\": {some}"));
        let text =
            format!("{{\"access_token\": \"{token}\", \"token_type\": \"bearer\"{lifetime}}}");
        Reply(200, None, text)
    }
}
