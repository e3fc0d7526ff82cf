//! Questions to whatever speaks Prometheus' HTTP API.

use std::collections::BTreeMap;

use serde_json::Value;

use super::wait_for;

/// A counter's series from its first stored sample on, by the value of one label.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Course {
    /// The newest values.
    pub total: f64,
    /// What `increase()` over all of the time gives, without what it makes up at both ends.
    pub risen: f64,
    /// How often a series fell.
    pub resets: u32,
    /// Series that it is the sum of.
    pub series: u32,
}

pub struct Querier {
    /// With what stands ahead of `/api/v1`.
    pub base: String,
    /// User and password.
    pub login: Option<(String, String)>,
    pub client: reqwest::Client,
}

impl Querier {
    /// Of a server on loopback.
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

    /// What the API says below `data`.
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

    /// The series that an expression gives, each with its labels and value, now or at a time.
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

    /// The stored samples of the one series that a selector gives: seconds and values.
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

    /// How a counter went in the last hour, by the value of a label.
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

    /// The exemplars of a selector: by series, as the API has them.
    pub async fn exemplars(&self, selector: &str, start: f64, end: f64) -> Vec<Value> {
        let (start, end) = (start.to_string(), end.to_string());
        let parameters = [("query", selector), ("start", &start), ("end", &end)];
        let answer = self.api("query_exemplars", &parameters).await;
        answer.as_array().cloned().unwrap_or_default()
    }

    /// Type, help and unit of a family, as the API has them.
    pub async fn metadata(&self, family: &str) -> Vec<Value> {
        let answer = self.api("metadata", &[("metric", family)]).await;
        answer[family].as_array().cloned().unwrap_or_default()
    }

    /// Waits until what an expression gives adds up to that.
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

    /// The sum of what an expression gives; 0 where that is nothing.
    pub async fn sum(&self, expression: &str) -> f64 {
        let series = self.query(expression, None).await;
        series.iter().map(|(_, value)| value).sum()
    }
}
