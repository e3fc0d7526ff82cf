//! The JSON of the status page.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, StatusCode, Uri};
use serde::Serialize;

use super::Pages;
use super::answer::{JSON, busy, foreign, problem};
use super::text::decoded;
use crate::status::columns::Row;
use crate::status::document::{
    BeatRow, BrokerRow, Instance, LongRunningRow, PeriodicRow, Problem, QueueRow, ReceiverRow,
    Status, Summary, TaskRow, Trust, WorkerRow, WorkflowRow,
};
use crate::status::query::Query;

/// The document with the rows that a query leaves.
#[derive(Serialize)]
struct Selection<'a> {
    version: u32,
    instance: &'a Instance,
    at_timestamp_seconds: f64,
    window_seconds: u64,
    attention: &'a [Problem],
    summary: &'a Summary,
    trust: &'a Trust,
    queues: Vec<&'a QueueRow>,
    tasks: Vec<&'a TaskRow>,
    workers: Vec<&'a WorkerRow>,
    beats: Vec<&'a BeatRow>,
    periodic: Vec<&'a PeriodicRow>,
    workflows: Vec<&'a WorkflowRow>,
    long_running: Vec<&'a LongRunningRow>,
    brokers: Vec<&'a BrokerRow>,
    receivers: Vec<&'a ReceiverRow>,
}

/// One queue, flat, as autoscalers read it.
#[derive(Debug, Serialize)]
struct QueueFigures<'a> {
    name: &'a str,
    broker: Option<&'a str>,
    length: Option<u64>,
    unacked: Option<u64>,
    oldest_age_seconds: Option<f64>,
    slots: Option<u64>,
    active: Option<u64>,
    saturation: Option<f64>,
    drain_seconds: Option<f64>,
}

/// `GET /api/v1/status`.
pub(super) async fn status(
    State(pages): State<Arc<Pages>>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    if let Some(refused) = foreign(&headers) {
        return refused;
    }
    let query = match Query::parse(uri.query().unwrap_or_default()) {
        Ok(query) => query,
        Err(error) => return problem(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    let Some(status) = pages.board.status(query.window).await else {
        return busy();
    };
    let make = move || (StatusCode::OK, json(&Selection::new(&status, &query)));
    pages.answers.answer(&headers, JSON, make).await
}

/// `GET /api/v1/queues/{queue}`.
pub(super) async fn queue(
    State(pages): State<Arc<Pages>>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    if let Some(refused) = foreign(&headers) {
        return refused;
    }
    let name = decoded(uri.path().trim_start_matches("/api/v1/queues/"));
    let query = match Query::parse(uri.query().unwrap_or_default()) {
        Ok(query) => query,
        Err(error) => return problem(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    let Some(status) = pages.board.status(query.window).await else {
        return busy();
    };
    let broker = query.broker.as_deref();
    let own = status.queues.iter().filter(|row| *row.name == *name);
    let mut own = own.filter(|row| broker.is_none() || row.broker() == broker);
    let (Some(row), second) = (own.next(), own.next()) else {
        let text = match broker {
            Some(_) => "no such queue is known at this broker",
            None => "no such queue is known",
        };
        return problem(StatusCode::NOT_FOUND, text);
    };
    if second.is_some() {
        let text = "several brokers have a queue of this name; add ?broker= with a broker's name";
        return problem(StatusCode::CONFLICT, text);
    }
    let body = json(&QueueFigures::from(row));
    pages
        .answers
        .answer(&headers, JSON, move || (StatusCode::OK, body))
        .await
}

impl<'a> Selection<'a> {
    fn new(status: &'a Status, query: &Query) -> Self {
        Self {
            version: status.version,
            instance: &status.instance,
            at_timestamp_seconds: status.at_timestamp_seconds,
            window_seconds: status.window_seconds,
            attention: &status.attention,
            summary: &status.summary,
            trust: &status.trust,
            queues: query.select(&status.queues, usize::MAX).rows,
            tasks: query.select(&status.tasks, usize::MAX).rows,
            workers: query.select(&status.workers, usize::MAX).rows,
            beats: status.beats.iter().collect(),
            periodic: query.select(&status.periodic, usize::MAX).rows,
            workflows: query.select(&status.workflows, usize::MAX).rows,
            long_running: status.long_running.iter().collect(),
            brokers: query.select(&status.brokers, usize::MAX).rows,
            receivers: query.select(&status.receivers, usize::MAX).rows,
        }
    }
}

impl<'a> From<&'a QueueRow> for QueueFigures<'a> {
    fn from(row: &'a QueueRow) -> Self {
        Self {
            name: &row.name,
            broker: row.broker.as_deref(),
            length: row.waiting,
            unacked: row.unacked,
            oldest_age_seconds: row.oldest_age_seconds,
            slots: row.slots,
            active: row.active,
            saturation: row.saturation,
            drain_seconds: row.drain_seconds,
        }
    }
}

fn json(value: &impl Serialize) -> Vec<u8> {
    let mut body = serde_json::to_vec(value).unwrap_or_default();
    body.push(b'\n');
    body
}
