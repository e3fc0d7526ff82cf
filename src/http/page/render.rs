//! A whole page, and the parts of it that change.

use askama::Template;

use super::assets::Assets;
use super::cell::Level;
use super::detail;
use super::overview;
use super::scene::Scene;
use super::table::Section;
use super::text::{Html, date, encoded, shown};
use super::view::{Links, Table, View};
use crate::status::document::Status;
use crate::status::format::age;
use crate::status::query::Window;

/// The parts of a page that change with the document.
#[derive(Debug)]
pub(super) struct Parts {
    /// When the figures are from.
    pub(super) as_of: String,
    /// Elements with an `id`, in the order of the page.
    pub(super) above: Vec<(&'static str, Html)>,
    pub(super) title: Html,
    pub(super) state: Html,
    pub(super) sections: Vec<Section>,
    /// Whether the page is about something that exists.
    pub(super) is_known: bool,
}

#[derive(Template)]
#[template(
    ext = "html",
    source = "<title id=\"title\">{% if problems > 0 %}({{ problems }}) {% endif %}{{ name }} · celeriac</title>"
)]
struct TitleT {
    problems: usize,
    name: String,
}

#[derive(Template)]
#[template(
    ext = "html",
    source = "<a id=\"state\" class=\"s {{ class }}\" href=\"{{ href }}\">{{ text }}</a>"
)]
struct StateT {
    class: &'static str,
    href: String,
    text: String,
}

#[derive(Template)]
#[template(path = "page.html")]
struct PageT<'a> {
    assets: &'a Assets,
    prefix: &'a str,
    live: String,
    parts: &'a Parts,
    instance: String,
    version: String,
    up: String,
    started: String,
    error: Option<&'a str>,
    nav: Vec<Link>,
    windows: Vec<Link>,
    filter: &'a str,
    /// Parameters that the filter form keeps.
    kept: Vec<(&'static str, String)>,
    /// What the rows are limited to, and the page without it.
    chips: Vec<(&'static str, String, String)>,
    path: String,
    home: String,
    clear: String,
    /// For screen readers, of a page that is not about one thing.
    heading: &'static str,
    /// The kind and the name that the page is about.
    about: Option<(&'static str, String, String)>,
}

/// A link in a row of links.
struct Link {
    key: &'static str,
    text: &'static str,
    href: String,
    current: bool,
}

impl Parts {
    pub(super) fn new(scene: Scene<'_>) -> Self {
        let Scene { status, links } = scene;
        let (level, text) = overview::headline(status);
        let name = match &links.view {
            View::Overview => shown(&status.instance.name),
            View::Table(table) => table.title().to_owned(),
            View::Queue(name) | View::Task(name) | View::Worker(name) => shown(name),
        };
        let mut above = vec![
            ("attention", overview::attention(scene)),
            ("notices", overview::notices(status)),
        ];
        let mut is_known = true;
        let sections = match detail::render(scene) {
            Some(detail) => {
                above.push(("detail", detail.html));
                is_known = detail.is_known;
                detail.sections
            }
            None => match links.view {
                View::Table(table) => vec![section(scene, table)],
                View::Overview | View::Queue(_) | View::Task(_) | View::Worker(_) => {
                    above.push(("tiles", overview::tiles(status)));
                    above.push(("trust", overview::trust(status)));
                    Table::ALL.map(|table| section(scene, table)).into()
                }
            },
        };
        let problems = status.attention.iter();
        let title = TitleT {
            problems: problems
                .filter(|problem| problem.severity != crate::status::document::Severity::Info)
                .count(),
            name,
        };
        let state = StateT {
            class: match level {
                Level::Fine => "ok",
                Level::Warning => "so",
                Level::Bad => "no",
            },
            href: links.page(&View::Overview),
            text,
        };
        Self {
            as_of: overview::as_of(status),
            above,
            title: Html::of(&title),
            state: Html::of(&state),
            sections,
            is_known,
        }
    }

    /// The elements that do not belong to a table, by their `id`.
    pub(super) fn elements(&self) -> impl Iterator<Item = (String, &Html)> {
        let above = self.above.iter().map(|(id, html)| ((*id).to_owned(), html));
        let around = self.sections.iter().flat_map(|section| {
            [
                (format!("head-{}", section.name), &section.heading),
                (format!("note-{}", section.name), &section.note),
            ]
        });
        let header = [("title", &self.title), ("state", &self.state)];
        let header = header.into_iter().map(|(id, html)| (id.to_owned(), html));
        header.chain(above).chain(around)
    }
}

fn section(scene: Scene<'_>, table: Table) -> Section {
    let status = scene.status;
    match table {
        Table::Queues => Section::new(scene, table, &status.queues),
        Table::Tasks => Section::new(scene, table, &status.tasks),
        Table::Workers => Section::new(scene, table, &status.workers),
        Table::Periodic => Section::new(scene, table, &status.periodic),
        Table::Workflows => Section::new(scene, table, &status.workflows),
        Table::Brokers => Section::new(scene, table, &status.brokers),
        Table::Receivers => Section::new(scene, table, &status.receivers),
    }
}

/// Renders a page; `error` is what is wrong with its query.
pub(super) fn page(
    status: &Status,
    links: &Links,
    assets: &Assets,
    error: Option<&str>,
) -> (Html, bool) {
    let scene = Scene { status, links };
    let parts = Parts::new(scene);
    let query = &links.query;
    let kept = [
        ("sort", query.sort()),
        (
            "window",
            (query.window != Window::default()).then(|| query.window.name().to_owned()),
        ),
        ("queue", query.queue.clone()),
        ("broker", query.broker.clone()),
        ("all", query.all.then(|| "1".to_owned())),
    ];
    let kept = kept
        .into_iter()
        .filter_map(|(key, value)| Some((key, value?)));
    let chips = [("queue", &query.queue), ("broker", &query.broker)];
    let chips = chips
        .into_iter()
        .filter_map(|(key, value)| Some((key, shown(value.as_deref()?), links.with(&[(key, "")]))));
    let about = match &links.view {
        View::Overview | View::Table(_) => None,
        View::Queue(name) => Some(("Queue", name)),
        View::Task(name) => Some(("Task", name)),
        View::Worker(name) => Some(("Worker", name)),
    };
    let started = status.instance.started_timestamp_seconds;
    let html = Html::of(&PageT {
        assets,
        prefix: &links.prefix,
        live: live(status, links),
        parts: &parts,
        instance: shown(&status.instance.name),
        version: shown(&status.instance.version),
        up: age(status.at_timestamp_seconds - started),
        started: date(started),
        error,
        nav: nav(links),
        windows: windows(links),
        filter: query.filter(),
        kept: kept.collect(),
        chips: chips.collect(),
        path: links.path(),
        heading: match links.view {
            View::Table(table) => table.title(),
            View::Overview | View::Queue(_) | View::Task(_) | View::Worker(_) => "Overview",
        },
        home: format!("{}{}", links.prefix, links.home),
        clear: links.with(&[("q", "")]),
        about: about.map(|(kind, name)| {
            (
                kind,
                shown(name),
                crate::escape::printable(name).into_owned(),
            )
        }),
    });
    (html, parts.is_known)
}

fn windows(links: &Links) -> Vec<Link> {
    let window = |window: Window| Link {
        key: window.name(),
        text: window.name(),
        href: links.with(&[("window", window.name())]),
        current: links.query.window == window,
    };
    Window::ALL.map(window).into()
}

/// The address of the page's events. It names the document that the page shows.
fn live(status: &Status, links: &Links) -> String {
    let view = encoded(&links.view.path());
    let query = links.query.with(&[]).replacen('?', "&", 1);
    let at = status.at_timestamp_seconds;
    format!("{}/api/v1/live?view={view}{query}&at={at}", links.prefix)
}

fn nav(links: &Links) -> Vec<Link> {
    let overview = Link {
        key: "overview",
        text: "Overview",
        href: links.page(&View::Overview),
        current: links.view == View::Overview,
    };
    let tables = Table::ALL.map(|table| Link {
        key: table.name(),
        text: if table == Table::Periodic {
            "Periodic"
        } else {
            table.title()
        },
        href: links.page(&View::Table(table)),
        current: links.view == View::Table(table),
    });
    std::iter::once(overview).chain(tables).collect()
}
