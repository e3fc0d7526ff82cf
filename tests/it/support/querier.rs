//! A client for Prometheus' HTTP query API.

use std::collections::BTreeMap;

use serde_json::Value;

use super::wait_for;

/// The history of counter series since their first stored samples, summed by the value of one label.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Course {
    /// The newest values.
    pub total: f64,
    /// The total increase, like `increase()` over the whole time but without extrapolation.
    pub risen: f64,
    /// How often a series decreased.
    pub resets: u32,
    /// Number of series in the sum.
    pub series: u32,
}

pub struct Querier {
    /// Base URL, up to `/api/v1`.
    pub base: String,
    /// User name and password.
    pub login: Option<(String, String)>,
    pub client: reqwest::Client,
}

impl Querier {
    /// Creates a client for a server on loopback.
    pub fn new(port: u16) -> Self {
        Self {
            base: format!("http://127.0.0.1:{port}"),
            login: None,
            client: reqwest::Client::new(),
        }
    }

    pub fn write_url(&self) -> String {
        format!("{}/api/v1/write", self.base)
    }

    /// Returns the `data` of an API response.
    pub async fn api(&self, path: &str, parameters: &[(&str, &str)]) -> Value {
        let mut url = url::Url::parse(&format!("{}/api/v1/{path}", self.base)).expect("a URL");
        url.query_pairs_mut().extend_pairs(parameters);
        let mut request = self.client.get(url);
        if let Some((user, password)) = &self.login {
            request = request.basic_auth(user, Some(password));
        }
        let answer = request.send().await.expect("an answer");
        let text = answer.text().await.expect("a body");
        let mut answer: Value = serde_json::from_str(&text).unwrap_or_default();
        assert_eq!(answer["status"], "success", "{parameters:?}: {text}");
        answer["data"].take()
    }

    /// Evaluates an expression now or at a given time, and returns the labels and value of each series.
    pub async fn query(&self, expression: &str, time: Option<f64>) -> Vec<(Value, f64)> {
        let time = time.map(|time| time.to_string());
        let mut parameters = vec![("query", expression)];
        if let Some(time) = &time {
            parameters.push(("time", time));
        }
        let answer = self.api("query", &parameters).await;
        let series = answer["result"].as_array().expect("a vector").iter();
        series
            .map(|series| {
                let value = series["value"][1].as_str().expect("a value");
                (series["metric"].clone(), value.parse().expect("a number"))
            })
            .collect()
    }

    /// Returns the stored samples of the only series that matches a selector, as seconds and values.
    pub async fn stored(&self, selector: &str, range: &str) -> Vec<(f64, f64)> {
        let expression = format!("{selector}[{range}]");
        let answer = self.api("query", &[("query", &expression)]).await;
        let series = answer["result"].as_array().expect("a matrix");
        assert!(series.len() <= 1, "{selector}: {series:?}");
        let values = series
            .iter()
            .filter_map(|series| series["values"].as_array());
        let number = |value: &Value| {
            let text = value.as_str().map(|text| text.parse().expect("a number"));
            text.or_else(|| value.as_f64()).expect("a number")
        };
        values
            .flatten()
            .map(|pair| (number(&pair[0]), number(&pair[1])))
            .collect()
    }

    /// Returns the history of a counter in the last hour, by the value of a label.
    pub async fn courses(&self, selector: &str, label: &str) -> BTreeMap<String, Course> {
        let answer = self
            .api("query", &[("query", &format!("{selector}[1h]"))])
            .await;
        let mut courses = BTreeMap::<String, Course>::new();
        for series in answer["result"].as_array().expect("a matrix") {
            let name = series["metric"][label].as_str().unwrap_or_default();
            let samples = series["values"].as_array().expect("samples").iter();
            let value = |pair: &Value| pair[1].as_str().and_then(|text| text.parse().ok());
            let values: Vec<f64> = samples.map(|pair| value(pair).expect("a number")).collect();
            let course = courses.entry(name.to_owned()).or_default();
            course.series += 1;
            course.total += values.last().copied().unwrap_or_default();
            for pair in values.windows(2) {
                let fell = pair[1] < pair[0];
                course.resets += u32::from(fell);
                course.risen += if fell { pair[1] } else { pair[1] - pair[0] };
            }
        }
        courses
    }

    /// Returns the exemplars of a selector by series, as reported by the API.
    pub async fn exemplars(&self, selector: &str, start: f64, end: f64) -> Vec<Value> {
        let (start, end) = (start.to_string(), end.to_string());
        let parameters = [("query", selector), ("start", &start), ("end", &end)];
        let answer = self.api("query_exemplars", &parameters).await;
        answer.as_array().cloned().unwrap_or_default()
    }

    /// Returns the type, help and unit of a family, as reported by the API.
    pub async fn metadata(&self, family: &str) -> Vec<Value> {
        let answer = self.api("metadata", &[("metric", family)]).await;
        answer[family].as_array().cloned().unwrap_or_default()
    }

    /// Waits until the sum of an expression's result has the expected value.
    pub async fn has(&self, expression: &str, expected: f64) {
        wait_for("the server to have it all", 60, async || {
            let stored = self.sum(expression).await;
            if stored == expected {
                Ok(())
            } else {
                Err(format!("{expression}: {stored} of {expected}"))
            }
        })
        .await;
    }

    /// Returns the sum of an expression's result; 0 if it is empty.
    pub async fn sum(&self, expression: &str) -> f64 {
        let series = self.query(expression, None).await;
        series.iter().map(|(_, value)| value).sum()
    }
}
