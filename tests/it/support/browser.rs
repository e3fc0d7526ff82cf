//! Chromium, as a person uses it, through its WebDriver.

use std::process::Command;
use std::time::Duration;

use fantoccini::elements::Element;
use fantoccini::wd::WebDriverCompatibleCommand;
use fantoccini::{Client, ClientBuilder, Locator};
use http::Method;
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tempfile::TempDir;
use url::{ParseError, Url};

use super::process::Process;
use super::{free_port, wait_for};

pub struct Browser {
    pub client: Client,
    _driver: Process,
    _folder: TempDir,
}

/// How the browser differs from its default.
#[derive(Clone, Copy, Debug, Default)]
pub struct Settings {
    pub without_scripts: bool,
    /// Trusts any certificate.
    pub insecure: bool,
}

/// A command of Chromium's own protocol.
#[derive(Debug)]
struct Cdp(Value);

impl WebDriverCompatibleCommand for Cdp {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, ParseError> {
        let session = session.unwrap_or_default();
        base.join(&format!("session/{session}/goog/cdp/execute"))
    }

    fn method_and_body(&self, _: &Url) -> (Method, Option<String>) {
        (Method::POST, Some(self.0.to_string()))
    }
}

impl Browser {
    pub async fn start() -> Self {
        Self::start_with(Settings::default()).await
    }

    pub async fn start_with(settings: Settings) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let port = free_port();
        let mut command = Command::new("chromedriver");
        command.arg(format!("--port={port}"));
        let driver = Process::start("chromedriver", &mut command, folder.path());
        let profile = folder.path().join("profile");
        let arguments = [
            "--headless",
            // Containers lack the kernel features and the shared memory.
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--disable-gpu",
            "--hide-scrollbars",
            "--window-size=1600,1000",
            &format!("--user-data-dir={}", profile.display()),
        ];
        let scripts = if settings.without_scripts { 2 } else { 1 };
        let capabilities = json!({
            "acceptInsecureCerts": settings.insecure,
            "goog:chromeOptions": {
                "args": arguments,
                "prefs": {"profile.managed_default_content_settings.javascript": scripts},
            },
            "goog:loggingPrefs": {"browser": "ALL"},
        });
        let Value::Object(capabilities) = capabilities else {
            unreachable!("it is an object");
        };
        let client = wait_for("the browser", 60, async || {
            let mut builder = ClientBuilder::new(HttpConnector::new());
            builder.capabilities(capabilities.clone());
            let connected = builder.connect(&format!("http://127.0.0.1:{port}")).await;
            connected.map_err(|error| format!("{error}\n{}", driver.output()))
        })
        .await;
        Self {
            client,
            _driver: driver,
            _folder: folder,
        }
    }

    pub async fn open(&self, url: &str) {
        self.client.goto(url).await.expect("a page");
    }

    /// Sets the size of the page, not of the window.
    pub async fn resize(&self, width: u32, height: u32) {
        let parameters =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.cdp("Emulation.setDeviceMetricsOverride", parameters)
            .await;
    }

    /// Sets media features, such as `prefers-color-scheme` to `dark`.
    pub async fn prefer(&self, feature: &str, value: &str) {
        let parameters = json!({"features": [{"name": feature, "value": value}]});
        self.cdp("Emulation.setEmulatedMedia", parameters).await;
    }

    pub async fn cdp(&self, command: &str, parameters: Value) -> Value {
        let command = Cdp(json!({"cmd": command, "params": parameters}));
        self.client.issue_cmd(command).await.expect("an answer")
    }

    /// The value of an expression.
    pub async fn value(&self, expression: &str) -> Value {
        let script = format!("return {expression}");
        self.client
            .execute(&script, Vec::new())
            .await
            .expect(expression)
    }

    /// The text of the first element that matches, with white space collapsed.
    pub async fn text(&self, selector: &str) -> String {
        let quoted = json!(selector);
        let text = self
            .value(&format!(
                "(document.querySelector({quoted})?.innerText ?? '').replace(/\\s+/g, ' ').trim()"
            ))
            .await;
        text.as_str().unwrap_or_default().to_owned()
    }

    /// The texts of all elements that match.
    pub async fn texts(&self, selector: &str) -> Vec<String> {
        let quoted = json!(selector);
        let texts = self
            .value(&format!(
                "[...document.querySelectorAll({quoted})].map(e => e.innerText.replace(/\\s+/g, ' ').trim())"
            ))
            .await;
        let texts = texts.as_array().expect("a list").iter();
        texts
            .map(|text| text.as_str().expect("a text").to_owned())
            .collect()
    }

    pub async fn find(&self, selector: &str) -> Element {
        self.client
            .wait()
            .at_most(Duration::from_secs(20))
            .for_element(Locator::Css(selector))
            .await
            .expect(selector)
    }

    /// Clicks an element. A live update may replace it after it was found; then it is found again.
    pub async fn click(&self, selector: &str) {
        wait_for("a click", 20, async || {
            let clicked = self.find(selector).await.click().await;
            clicked.map_err(|error| format!("{selector}: {error}"))
        })
        .await;
    }

    /// Presses keys on whatever has the focus.
    pub async fn press(&self, keys: &str) {
        loop {
            let focused = self.client.active_element().await;
            let focused = focused.expect("something has the focus");
            match focused.send_keys(keys).await {
                // An update of the page replaced it meanwhile.
                Err(error) if error.is_stale_element_reference() => {}
                pressed => return pressed.expect("keys"),
            }
        }
    }

    /// Waits until an expression is true.
    pub async fn until(&self, expression: &str, seconds: u64) {
        wait_for(expression, seconds, async || {
            match self.value(expression).await {
                Value::Bool(true) => Ok(()),
                other @ (Value::Null
                | Value::Bool(_)
                | Value::Number(_)
                | Value::String(_)
                | Value::Array(_)
                | Value::Object(_)) => {
                    let body = self.text("body").await;
                    Err(format!("{other}: {body}"))
                }
            }
        })
        .await;
    }

    /// The messages in the console, which are errors or violations of a policy.
    pub async fn complaints(&self) -> Vec<String> {
        #[derive(Debug)]
        struct Log;
        impl WebDriverCompatibleCommand for Log {
            fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, ParseError> {
                base.join(&format!("session/{}/se/log", session.unwrap_or_default()))
            }

            fn method_and_body(&self, _: &Url) -> (Method, Option<String>) {
                (Method::POST, Some(json!({"type": "browser"}).to_string()))
            }
        }
        let log = self.client.issue_cmd(Log).await.expect("a log");
        let entries = log.as_array().expect("a list").iter();
        let messages = entries.map(|entry| entry["message"].to_string());
        messages.collect()
    }

    /// Stops the browser. Without it, Chromium would outlive the test.
    pub async fn close(self) {
        self.client.close().await.expect("it closes");
    }
}
