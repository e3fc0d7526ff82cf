//! Server-sent events that keep an open page up to date.
//!
//! Each page and query that someone looks at has one [`LiveView`], which is rendered at most once a second, whoever of its
//! listeners asks first. A listener remembers a hash of each element that its page holds, and sends those that differ from
//! the newest rendering: a slow one skips renderings but no change, and holds one event.
//!
//! An event is a JSON object. `set` maps the `id` of an element to its HTML, `order` a table to the ids of its rows. `as_of`
//! and `at` say which document the page then shows; an event without them is followed by another.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use http::header::{CONTENT_TYPE, HeaderName, RETRY_AFTER};
use http::{HeaderMap, StatusCode, Uri};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::MissedTickBehavior;
use xxhash_rust::xxh3::xxh3_64;

use super::super::connections::Live;
use super::super::limits::Limits;
use super::Pages;
use super::answer::{foreign, problem, secured};
use super::render::Parts;
use super::scene::Scene;
use super::text::Html;
use super::view::{Links, View};
use crate::clock;
use crate::status::document::Status;
use crate::status::query::Query;
use crate::telemetry::http::HttpLimit;

/// Maximum number of listeners. A page without events refreshes itself every 15 seconds.
pub(super) const LISTENERS_MAX: usize = 64;

/// Time between two renderings.
const INTERVAL: Duration = Duration::from_secs(1);

/// A rendering that is younger than this is the one of this interval.
const FRESH: Duration = Duration::from_millis(900);

/// Time between two signs of life, below the timeouts of usual proxies.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Browsers come back after an answer has ended. This finds out about those that are gone without a word.
const LIFETIME: Duration = Duration::from_mins(10);

/// Size of elements from which an event is sent and another one begun.
const EVENT_BYTES: usize = 64 << 10;

/// The views that someone looks at.
#[derive(Debug)]
pub(super) struct LiveViews {
    views: Mutex<HashMap<String, Weak<LiveView>>>,
    listeners: Arc<Semaphore>,
    limits: Arc<Limits>,
}

/// A page and its query.
#[derive(Debug)]
struct LiveView {
    links: Links,
    /// Held while rendering, so that others get the same rendering.
    newest: tokio::sync::Mutex<Option<Arc<Rendering>>>,
}

/// The changing parts of a page.
#[derive(Debug)]
pub(super) struct Rendering {
    made: Instant,
    status: Arc<Status>,
    as_of: String,
    elements: Vec<Element>,
    orders: Vec<Element>,
}

/// A part of an event, under the hash of its id.
#[derive(Debug)]
struct Element {
    id: u64,
    hash: u64,
    /// `"id":"html"`.
    json: String,
}

/// What a page is known to hold.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// The hash of each element, by that of its id.
    elements: HashMap<u64, u64>,
    orders: HashMap<u64, u64>,
    /// The document, once all of it was sent.
    at: Option<f64>,
}

/// One open page.
struct Listener {
    pages: Arc<Pages>,
    view: Arc<LiveView>,
    held: Held,
    /// The document that the page had when it was loaded.
    loaded: Option<f64>,
    /// Whether the last event was only a part.
    unfinished: bool,
    ticks: tokio::time::Interval,
    begun: Instant,
    sent: Instant,
    _permit: OwnedSemaphorePermit,
}

/// `GET /api/v1/live?view=PATH`.
pub(super) async fn events(
    State(pages): State<Arc<Pages>>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    if let Some(refused) = foreign(&headers) {
        return refused;
    }
    let text = uri.query().unwrap_or_default();
    let parameter = |name: &str| {
        let mut pairs = url::form_urlencoded::parse(text.as_bytes());
        pairs.find(|(key, _)| key == name).map(|(_, value)| value)
    };
    let view = parameter("view");
    let Some(view) = view.as_deref().and_then(View::parse) else {
        let text = "view: expected the path of a page, such as /queues";
        return problem(StatusCode::BAD_REQUEST, text);
    };
    let query = match Query::parse(text) {
        Ok(query) => query,
        Err(error) => return problem(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    let Ok(permit) = Arc::clone(&pages.live.listeners).try_acquire_owned() else {
        pages.live.limits.reached(HttpLimit::Listeners);
        let text =
            format!("{LISTENERS_MAX} pages are already open; reload every 15 seconds instead");
        let mut answer = problem(StatusCode::SERVICE_UNAVAILABLE, &text);
        let later = http::HeaderValue::from_static("15");
        answer.headers_mut().insert(RETRY_AFTER, later);
        return answer;
    };
    let loaded = parameter("at").and_then(|at| at.parse().ok());
    let view = pages.live.view(pages.links(&headers, view, query));
    let listener = Listener::new(pages, view, loaded, permit);
    let events = stream::unfold(listener, async |mut listener| {
        let event = listener.next().await?;
        Some((Ok::<_, Infallible>(event), listener))
    });
    let headers = [
        (CONTENT_TYPE, "text/event-stream"),
        // nginx would collect events.
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    let mut answer = (headers, Body::from_stream(events)).into_response();
    answer.extensions_mut().insert(Live);
    secured(answer)
}

impl LiveViews {
    pub(super) fn new(limits: Arc<Limits>) -> Self {
        Self {
            views: Mutex::default(),
            listeners: Arc::new(Semaphore::new(LISTENERS_MAX)),
            limits,
        }
    }

    /// Returns the view that all listeners to a page share.
    fn view(&self, links: Links) -> Arc<LiveView> {
        let key = links.with(&[]);
        let mut views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
        views.retain(|_, view| view.strong_count() > 0);
        if let Some(view) = views.get(&key).and_then(Weak::upgrade) {
            return view;
        }
        let view = Arc::new(LiveView {
            links,
            newest: tokio::sync::Mutex::default(),
        });
        views.insert(key, Arc::downgrade(&view));
        view
    }
}

impl LiveView {
    /// Returns the rendering of this interval; an older one if the daemon is too busy.
    async fn rendering(self: &Arc<Self>, pages: &Pages) -> Option<Arc<Rendering>> {
        let mut newest = self.newest.lock().await;
        let now = clock::monotonic();
        if let Some(rendering) = &*newest
            && now.duration_since(rendering.made) < FRESH
        {
            return Some(Arc::clone(rendering));
        }
        let Some(status) = pages.board.status(self.links.query.window).await else {
            return newest.clone();
        };
        if let Some(rendering) = &*newest
            && Arc::ptr_eq(&rendering.status, &status)
        {
            return Some(Arc::clone(rendering));
        }
        let view = Arc::clone(self);
        let make = move || Arc::new(Rendering::new(status, &view.links, now));
        *newest = Some(pages.answers.make(make).await?);
        newest.clone()
    }
}

impl Rendering {
    /// Renders the changing parts of a page.
    pub(super) fn new(status: Arc<Status>, links: &Links, made: Instant) -> Self {
        let parts = Parts::new(Scene {
            status: &status,
            links,
        });
        let rows = parts.sections.iter().flat_map(|section| &section.rows);
        let rows = rows.map(|(id, html)| Element::new(id, &html.0));
        let elements = parts.elements();
        let elements = elements.map(|(id, Html(html))| Element::new(&id, html));
        let elements = elements.chain(rows).collect();
        let orders = parts.sections.iter().map(|section| {
            let ids: Vec<&str> = section.rows.iter().map(|(id, _)| &**id).collect();
            Element::of(section.name, &json(&ids))
        });
        Self {
            made,
            as_of: parts.as_of.clone(),
            elements,
            orders: orders.collect(),
            status,
        }
    }
}

impl Element {
    fn new(id: &str, html: &str) -> Self {
        Self::of(id, &json(html))
    }

    fn of(id: &str, value: &str) -> Self {
        Self {
            id: xxh3_64(id.as_bytes()),
            hash: xxh3_64(value.as_bytes()),
            json: format!("{}:{value}", json(id)),
        }
    }
}

impl Held {
    /// What a page holds that shows this rendering.
    pub(super) fn all(rendering: &Rendering) -> Self {
        let hashes = |elements: &[Element]| {
            let hashes = elements.iter().map(|element| (element.id, element.hash));
            hashes.collect()
        };
        Self {
            elements: hashes(&rendering.elements),
            orders: hashes(&rendering.orders),
            at: Some(rendering.status.at_timestamp_seconds),
        }
    }

    /// Returns the event that brings a page closer to a rendering, and whether another one has to follow. `None` if the
    /// page shows it.
    pub(super) fn event(&mut self, rendering: &Rendering) -> Option<(String, bool)> {
        let at = rendering.status.at_timestamp_seconds;
        if self.at == Some(at) {
            return None;
        }
        self.at = None;
        let mut set = String::new();
        for element in &rendering.elements {
            if set.len() >= EVENT_BYTES {
                return Some((format!("data: {{\"set\":{{{set}}}}}\n\n"), true));
            }
            if self.elements.insert(element.id, element.hash) != Some(element.hash) {
                separate(&mut set);
                set.push_str(&element.json);
            }
        }
        let mut order = String::new();
        for element in &rendering.orders {
            if self.orders.insert(element.id, element.hash) != Some(element.hash) {
                separate(&mut order);
                order.push_str(&element.json);
            }
        }
        if !order.is_empty() {
            // The page drops rows that are not listed, and needs them again if they return.
            let elements = rendering.elements.iter();
            let kept: HashSet<u64> = elements.map(|element| element.id).collect();
            self.elements.retain(|id, _| kept.contains(id));
        }
        self.at = Some(at);
        let as_of = json(&rendering.as_of);
        let event = format!(
            "data: {{\"as_of\":{as_of},\"at\":{at},\"set\":{{{set}}},\"order\":{{{order}}}}}\n\n"
        );
        Some((event, false))
    }
}

fn separate(list: &mut String) {
    if !list.is_empty() {
        list.push(',');
    }
}

impl Listener {
    fn new(
        pages: Arc<Pages>,
        view: Arc<LiveView>,
        loaded: Option<f64>,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let now = clock::monotonic();
        Self {
            pages,
            view,
            held: Held::default(),
            loaded,
            unfinished: false,
            ticks,
            begun: now,
            sent: now,
            _permit: permit,
        }
    }

    /// Waits for the next event; `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        let stop = self.pages.stop.clone();
        stop.run_until_cancelled(self.next_event()).await?
    }

    async fn next_event(&mut self) -> Option<Bytes> {
        loop {
            if !self.unfinished {
                self.ticks.tick().await;
            }
            let now = clock::monotonic();
            if now.duration_since(self.begun) >= LIFETIME {
                return None;
            }
            if let Some(rendering) = self.view.rendering(&self.pages).await {
                let at = rendering.status.at_timestamp_seconds;
                // Bit by bit: it is a copy of the number in the page.
                if self
                    .loaded
                    .take()
                    .is_some_and(|loaded| loaded.to_bits() == at.to_bits())
                {
                    self.held = Held::all(&rendering);
                }
                if let Some((event, unfinished)) = self.held.event(&rendering) {
                    (self.sent, self.unfinished) = (now, unfinished);
                    return Some(event.into());
                }
            }
            if now.duration_since(self.sent) >= KEEP_ALIVE {
                self.sent = now;
                return Some(Bytes::from_static(b":\n\n"));
            }
        }
    }
}

/// A value as JSON, which can always be written.
fn json<T: serde::Serialize + ?Sized>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
