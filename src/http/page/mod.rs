//! The status page and its API: pages of HTML that are complete without a script, the same as JSON, and events that keep
//! an open page up to date. Nothing here changes anything.
//!
//! A request asks the [`Board`] for the document, which is at most a second old, and renders it on a thread that serves no
//! events. `view.rs` has the addresses, `render.rs` the page, and the files it uses its parts: `overview.rs` what is above
//! the tables, `table.rs` and `cell.rs` the tables, `detail.rs` the pages about one thing, `notices.rs` what a state means.
//! The templates are the `.html` files. `api.rs` is the JSON, `live.rs` the events, `answer.rs` the headers and limits of
//! all of them.

mod answer;
mod api;
mod assets;
mod live;

mod detail;
mod overview;
mod render;

mod cell;
mod notices;
mod scene;
mod spark;
mod table;
mod text;
mod view;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, StatusCode, Uri};
use tokio_util::sync::CancellationToken;

use self::answer::{Answers, HTML, busy, secured};
use self::assets::{Asset, Assets};
use self::live::LiveViews;
use self::view::{HOME, HOME_ELSEWHERE, Links, View};
use super::limits::Limits;
use crate::config::{StatusConfig, path_prefix};
use crate::status::Board;
use crate::status::query::Query;

/// What all requests share.
#[derive(Debug)]
struct Pages {
    board: Board,
    config: StatusConfig,
    assets: Assets,
    answers: Answers,
    live: LiveViews,
    /// The path of the overview.
    home: &'static str,
    stop: CancellationToken,
}

/// Adds the routes, except those in `taken`, which belong to other pages.
pub(super) fn add_to(
    mut router: Router,
    taken: &[String],
    (board, config): (Board, StatusConfig),
    limits: Arc<Limits>,
    stop: CancellationToken,
) -> Router {
    let is_free = |path: &str| !taken.iter().any(|taken| taken == path);
    let pages = Arc::new(Pages {
        board,
        config,
        assets: Assets::new(),
        live: LiveViews::new(Arc::clone(&limits)),
        answers: Answers::new(limits),
        home: if is_free(HOME) { HOME } else { HOME_ELSEWHERE },
        stop,
    });
    let views = View::routes().into_iter();
    let views = views.map(|path| (path, get(page)));
    let others = [
        ("/style.css", get(style)),
        ("/script.js", get(script)),
        ("/favicon.ico", get(favicon)),
        ("/api/v1/status", get(api::status)),
        ("/api/v1/queues/{*queue}", get(api::queue)),
        ("/api/v1/live", get(live::events)),
    ];
    let others = others.map(|(path, route)| (path.to_owned(), route));
    for (path, route) in views.chain(others) {
        if is_free(&path) {
            router = router.route(&path, route.with_state(Arc::clone(&pages)));
        }
    }
    router
}

impl Pages {
    /// How a request wants the links of its page.
    fn links(&self, headers: &HeaderMap, view: View, query: Query) -> Links {
        Links {
            prefix: self.prefix(headers),
            home: self.home,
            view,
            query,
            runbook_url: self.config.runbook_url.clone(),
        }
    }

    /// The path in front of ours: the configured one, or that of a proxy if it is valid.
    fn prefix(&self, headers: &HeaderMap) -> String {
        if let Some(prefix) = &self.config.external_prefix {
            return prefix.clone();
        }
        let forwarded = headers.get("x-forwarded-prefix");
        let forwarded = forwarded.and_then(|value| value.to_str().ok());
        forwarded.and_then(path_prefix).unwrap_or_default()
    }
}

/// Every page.
async fn page(State(pages): State<Arc<Pages>>, uri: Uri, headers: HeaderMap) -> Response {
    let Some(view) = View::parse(uri.path()) else {
        return secured(StatusCode::NOT_FOUND.into_response());
    };
    let (query, error) = match Query::parse(uri.query().unwrap_or_default()) {
        Ok(query) => (query, None),
        Err(error) => (Query::default(), Some(error.to_string())),
    };
    let Some(status) = pages.board.status(query.window).await else {
        return busy();
    };
    let links = pages.links(&headers, view, query);
    let shared = Arc::clone(&pages);
    let make = move || {
        let error = error.as_deref();
        let (html, is_known) = render::page(&status, &links, &shared.assets, error);
        let status = match (error, is_known) {
            (Some(_), _) => StatusCode::BAD_REQUEST,
            (None, false) => StatusCode::NOT_FOUND,
            (None, true) => StatusCode::OK,
        };
        (status, html.0.into_bytes())
    };
    pages.answers.answer(&headers, HTML, make).await
}

async fn style(State(pages): State<Arc<Pages>>, headers: HeaderMap) -> Response {
    asset(&pages, &pages.assets.style, &headers).await
}

async fn script(State(pages): State<Arc<Pages>>, headers: HeaderMap) -> Response {
    asset(&pages, &pages.assets.script, &headers).await
}

/// A file whose address changes with its content.
async fn asset(pages: &Pages, asset: &Asset, headers: &HeaderMap) -> Response {
    let content = asset.content.clone().into_bytes();
    let make = move || (StatusCode::OK, content);
    let mut answer = pages
        .answers
        .answer(headers, asset.content_type, make)
        .await;
    let keep = http::HeaderValue::from_static("private, max-age=31536000, immutable");
    answer.headers_mut().insert(CACHE_CONTROL, keep);
    answer
}

/// The icon is in the page. Browsers ask for this one when they show JSON.
async fn favicon() -> Response {
    secured((StatusCode::NO_CONTENT, [(CONTENT_TYPE, "image/x-icon")]).into_response())
}

#[cfg(test)]
mod tests;
