//! What a page contains, as a value.

use std::io::Write;
use std::time::Duration;

use super::super::text::{decoded, encoded};
use super::fixture::{HOSTILE, NOW, first_start, hostile, large, usual};
use super::{links, page};
use crate::clock;
use crate::http::page::assets::Assets;
use crate::http::page::render;
use crate::http::page::view::View;
use crate::status::document::{Mode, Status};

/// The part of a page between the start of an element and a text.
fn part<'a>(html: &'a str, start: &str, end: &str) -> &'a str {
    let from = html.find(start).unwrap_or_else(|| panic!("no {start}"));
    let rest = &html[from..];
    &rest[..rest.find(end).unwrap_or(rest.len())]
}

fn section<'a>(html: &'a str, name: &str) -> &'a str {
    part(html, &format!("<section id=\"{name}\""), "</section>")
}

#[test]
fn every_section_and_cell_can_be_found() {
    let html = page(&usual(), "/");
    for id in ["attention", "notices", "tiles", "trust"] {
        assert_eq!(html.matches(&format!("id=\"{id}\"")).count(), 1, "{id}");
    }
    for name in [
        "queues",
        "tasks",
        "workers",
        "periodic",
        "brokers",
        "receivers",
    ] {
        let section = section(&html, name);
        assert!(section.contains(&format!("id=\"rows-{name}\"")), "{name}");
        assert!(section.contains(&format!("id=\"head-{name}\"")), "{name}");
    }
    let reports = part(&html, "<bdi>reports</bdi></a></th>", "</tr>");
    for cell in [
        "<td>8,412</td>",
        "<td class=\"warning\" title=\"messages wait",
        ">growing<",
        "class=\"warning\">8<span class=\"u\">/8</span>",
        "role=\"img\" aria-label=\"10 min: ",
    ] {
        assert!(reports.contains(cell), "{cell}: {reports}");
    }
    let unknown = part(&html, "<bdi>legacy</bdi></a></th>", "</tr>");
    assert!(unknown.contains("</th><td><span class=\"u\">–<"));
}

#[test]
fn what_is_wrong_comes_first_with_a_word_and_a_runbook() {
    let html = page(&usual(), "/");
    let attention = section(&html, "attention");
    assert!(attention.contains("aria-live=\"polite\""));
    let critical = attention.find("Critical").expect("a critical problem");
    assert!(critical < attention.find("Warning").expect("a warning"));
    assert!(attention.contains("For 12 min 20 s."), "{attention}");
    assert!(attention.contains("See docs/runbooks/CeleriacRemoteWriteBehind.md"));
    assert!(html.contains("<title id=\"title\">(2) celeriac-0 · celeriac</title>"));

    let mut links = links("/");
    links.runbook_url = Some("https://wiki.example.com/r/".to_owned());
    let html = render::page(&usual(), &links, &Assets::new(), None).0.0;
    assert!(html.contains("href=\"https://wiki.example.com/r/CeleriacRemoteWriteBehind.md\""));
}

#[test]
fn names_from_outside_are_text_wherever_they_are_shown() {
    let status = hostile();
    let mut paths: Vec<String> = ["/", "/queues", "/tasks", "/workers", "/receivers"]
        .map(str::to_owned)
        .into();
    for name in HOSTILE {
        for kind in ["queue", "task", "worker"] {
            paths.push(format!("/{kind}/{}", encoded(name)));
        }
        paths.push(format!("/tasks?q={0}&queue={0}&broker={0}", encoded(name)));
    }
    for path in paths {
        let html = page(&status, &path);
        for broken in [
            "<script>alert",
            " onmouseover=alert(1) x=\"",
            "</style>",
            "<!--",
        ] {
            assert!(!html.contains(broken), "{broken} in {path}");
        }
        // The filter form has to send the filter back unchanged.
        let mut shown = html
            .split("<input")
            .map(|part| part.split_once('>').map_or(part, |(_, rest)| rest));
        let unsafe_here = |c: char| c != '\n' && crate::escape::is_unsafe(c);
        assert!(!shown.any(|part| part.contains(unsafe_here)), "{path}");
        let longest = part(&html, &"n".repeat(120), "<");
        assert!(
            longest.len() < 130 || longest.starts_with(&"n".repeat(121)),
            "{path}"
        );
    }
    let html = page(&status, "/task/a%2Fb%252Fc%3Fd%23e%26f%3Dg");
    assert!(
        html.contains("<bdi>a/b%2Fc?d#e&#38;f=g</bdi></h1>"),
        "{}",
        part(&html, "<h1", "</h1>")
    );
}

#[test]
fn a_name_survives_its_address() {
    for name in HOSTILE
        .into_iter()
        .chain(["ä", "%", "%zz", "%2", "/", "//a/", "*", "{x}"])
    {
        assert_eq!(decoded(&encoded(name)), name);
        for view in [
            View::Queue(name.into()),
            View::Task(name.into()),
            View::Worker(name.into()),
        ] {
            assert_eq!(View::parse(&view.path()), Some(view));
        }
    }
    // Proxies decode slashes.
    assert_eq!(View::parse("/task/a/b"), Some(View::Task("a/b".to_owned())));
    assert_eq!(View::parse("/tasks/"), None);
    assert_eq!(View::parse("/nothing"), None);
}

#[test]
fn headings_count_what_the_filter_leaves() {
    let status = usual();
    let count = |path: &str, section: &str| {
        let html = page(&status, path);
        let count = part(&html, &format!("id=\"head-{section}\""), "</h2>").to_owned();
        count
            .rsplit("count\">")
            .next()
            .expect("a count")
            .replace("</span>", "")
    };
    assert_eq!(count("/", "tasks"), "12");
    assert_eq!(count("/?q=SHOP.mail", "tasks"), "2 of 12");
    assert_eq!(count("/?q=re:^(shop|media)%5C.", "tasks"), "6 of 12");
    assert_eq!(count("/?queue=reports", "tasks"), "3 of 12");
    assert_eq!(count("/?queue=reports", "queues"), "1 of 5");
    assert_eq!(count("/queue/reports", "tasks"), "3");
    assert_eq!(count("/queue/reports?q=csv", "tasks"), "1 of 3");
    let large = large();
    let html = page(&large, "/");
    assert_eq!(section(&html, "tasks").matches("<tr id=").count(), 20);
    assert!(section(&html, "tasks").contains("href=\"/tasks\">Show all</a>"));
    let html = page(&large, "/tasks");
    assert_eq!(html.matches("<tr id=").count(), 200);
    assert!(html.contains("href=\"/tasks?all=1\">Show all</a>"));
}

#[test]
fn a_filter_without_matches_says_so_and_can_be_removed() {
    let html = page(&usual(), "/tasks?q=nothing&sort=-failed&window=1h");
    let note = part(&html, "id=\"note-tasks\"", "</div>");
    assert!(note.contains("No task matches “nothing”."), "{note}");
    assert!(
        note.contains("href=\"/tasks?sort=-failed&#38;window=1h\">Clear the filter"),
        "{note}"
    );
    assert!(html.contains("name=\"q\" value=\"nothing\""));
    assert!(html.contains("<input type=\"hidden\" name=\"window\" value=\"1h\">"));
}

#[test]
fn a_click_on_a_column_sorts_and_another_one_reverses() {
    let head = |path: &str, key: &str| {
        let html = page(&usual(), path);
        part(
            &html,
            &format!("<th scope=\"col\" data-key=\"{key}\""),
            "</th>",
        )
        .to_owned()
    };
    let done = head("/tasks", "done");
    assert!(
        done.contains("aria-sort=\"descending\"><a href=\"/tasks?sort=done\">"),
        "{done}"
    );
    assert!(head("/tasks", "task").contains("href=\"/tasks?sort=task\""));
    assert!(head("/tasks?q=a", "failed").contains("href=\"/tasks?q=a&#38;sort=-failed\""));
    assert!(head("/tasks?sort=-failed", "failed").contains("href=\"/tasks?sort=failed\""));
    let html = page(&usual(), "/tasks?sort=-failed");
    assert!(
        html.find("<bdi>reports.export_csv</bdi></a></th>")
            < html.find("<bdi>shop.orders.charge</bdi></a></th>")
    );
}

#[test]
fn everything_is_below_the_prefix() {
    let mut links = links("/queues?q=e&window=1m");
    links.prefix = "/monitoring/celery".to_owned();
    let html = render::page(&usual(), &links, &Assets::new(), None).0.0;
    for attribute in ["href=\"", "src=\"", "action=\"", "data-live=\""] {
        for link in html.split(attribute).skip(1) {
            let link = &link[..link.find('"').expect("an end")];
            let own = link.starts_with("/monitoring/celery/")
                || link.starts_with('#')
                || link.starts_with("data:");
            assert!(own, "{attribute}{link}");
        }
    }
}

#[test]
fn each_state_has_its_own_text() {
    let of = |change: fn(&mut Status)| {
        let mut status = usual();
        change(&mut status);
        page(&status, "/")
    };
    let cases: [(&str, String, &str); 9] = [
        (
            "empty",
            page(&first_start(), "/"),
            "Nothing has been received. Three steps",
        ),
        (
            "empty",
            of(|status| status.tasks.clear()),
            "heartbeats of 7 workers, and no task event",
        ),
        (
            "connecting",
            of(|status| {
                let broker = &mut status.brokers[0];
                (broker.connected, broker.messages, broker.reconnects) = (false, 0, 0);
            }),
            "Connecting to rabbitmq.",
        ),
        (
            "disconnected",
            of(|status| {
                let broker = &mut status.brokers[0];
                (broker.connected, broker.since_timestamp_seconds) = (false, Some(NOW - 90.0));
            }),
            "greyed and as of 22:11:50. Events wait in the broker",
        ),
        (
            "unreachable",
            of(|_| ()),
            "Pending: 48,210 samples. At this rate the queue on disk is full in 6 h 10 min",
        ),
        (
            "disk",
            of(|status| status.receivers[0].disk_failing = true),
            "Free space in data_dir",
        ),
        (
            "standby",
            of(|status| {
                status.instance.mode = Mode::Standby;
                status.instance.active_instance = Some("celeriac-1".to_owned());
            }),
            "celeriac-1 is active.",
        ),
        (
            "shard",
            of(|status| (status.brokers[0].shard, status.brokers[0].shards) = (Some(1), Some(3))),
            "Shard 2 of 3.",
        ),
        (
            "folded",
            of(|status| status.trust.folded = 9),
            "9 updates were counted under (other).",
        ),
    ];
    for (kind, html, text) in cases {
        assert!(html.contains(&format!("data-kind=\"{kind}\"")), "{kind}");
        assert!(
            html.contains(text),
            "{text}: {}",
            part(&html, "<main", "<table")
        );
    }
    let greyed = of(|status| status.brokers[0].connected = false);
    let rows = section(&greyed, "queues").matches("<tr id=").count();
    assert_eq!(
        section(&greyed, "queues")
            .matches("class=\"stale\"")
            .count(),
        rows
    );
    let (_, is_known) = render::page(&usual(), &links("/task/none"), &Assets::new(), None);
    assert!(!is_known);
    assert!(page(&usual(), "/task/none").contains("No task named “none” is known."));
}

#[test]
fn a_page_about_one_thing_has_all_that_is_known_about_it() {
    let html = page(&usual(), "/task/shop.orders.charge");
    let drawn = part(&html, "<svg class=\"k\"", "</p>");
    assert!(
        drawn.contains("aria-hidden=\"true\">Completed in each minute of the last hour: "),
        "{drawn}"
    );
    for text in [
        "<small>Task</small> <bdi>shop.orders.charge",
        "812,333",
        "ConnectionError",
        "in each minute of the last hour",
    ] {
        assert!(
            html.contains(text) || html.contains(&text.replace("812,333", "812k")),
            "{text}"
        );
    }
    let html = page(&usual(), "/worker/celery%40worker-1");
    assert!(
        html.contains("<bdi>emails</bdi></a></th>")
            && !html.contains("<bdi>reports</bdi></a></th>")
    );
    let html = page(&usual(), "/queue/reports?broker=other");
    assert!(
        html.contains("<bdi>reports</bdi></a></th>"),
        "queues without a broker are of the only one"
    );
}

#[test]
fn all_of_it_is_small() {
    let (html, assets) = (page(&usual(), "/"), Assets::new());
    let gzipped = |text: &str| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text.as_bytes()).expect("in memory");
        encoder.finish().expect("in memory").len()
    };
    let (style, script) = (&*assets.style.content, &*assets.script.content);
    let total: usize = [&*html, style, script].map(gzipped).iter().sum();
    assert!(html.len() <= 60_000, "{} bytes of HTML", html.len());
    assert!(style.len() <= 8_192, "{} bytes of CSS", style.len());
    assert!(
        script.len() <= 6_144,
        "{} bytes of JavaScript",
        script.len()
    );
    assert!(total <= 25_000, "{total} bytes gzipped");
    // Full tables with lines that rise and fall at each point.
    let largest = page(&large(), "/").len();
    assert!(largest <= 60_000, "{largest} bytes of HTML");
}

#[test]
fn nothing_in_a_page_needs_an_exception_from_the_policy() {
    for path in ["/", "/tasks", "/task/shop.orders.charge", "/queues?q=none"] {
        let html = page(&hostile(), path);
        for inline in [
            "<style",
            " style=",
            "<script>",
            "javascript:",
            " onclick=",
            "http-equiv=\"Content",
        ] {
            assert!(!html.contains(inline), "{inline} in {path}");
        }
        assert_eq!(html.matches("<script").count(), 1);
    }
}

#[test]
fn thousands_of_rows_are_rendered_in_no_time() {
    let status = large();
    let start = clock::monotonic();
    let html = page(&status, "/tasks?all=1");
    let took = clock::monotonic() - start;
    assert_eq!(html.matches("<tr id=").count(), 5000);
    // In a release build well below 100 ms; tests run unoptimized, on busy machines.
    assert!(took < Duration::from_secs(5), "{took:?}");
}
