//! `celeriac status` and `celeriac top`, as users run them.

mod status;
mod tmux;

use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use self::tmux::Tmux;
use super::support::endpoint::{Endpoint, Reply};
use super::support::process::Process;
use super::support::proxy::{Fault, Proxy};
use super::support::{free_port, wait_for};

/// The document of a shop with a failing receiver, a growing queue, and hostile names.
const DOCUMENT: &str = include_str!("../golden/top/document.json");

/// A daemon that serves this document.
async fn daemon(document: String) -> Endpoint {
    Endpoint::start(move |asked| match asked.uri.path() {
        "/api/v1/status" => Reply(200, None, document.clone()),
        _ => Reply::status(404),
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn top_shows_the_demo() {
    let folder = TempDir::new().expect("a temporary folder");
    let listen = format!("127.0.0.1:{}", free_port());
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_celeriac"));
    command.args(["demo", "--listen", &listen]);
    let _demo = Process::start("demo", &mut command, folder.path());
    // What it shows without a daemon, too.
    let tmux = Tmux::start(80, 24, &["top", "--url", &format!("http://{listen}")], &[]);
    tmux.shows("shop.orders", 30).await;
    let screen = tmux.shows("4 online", 30).await;
    assert!(screen.contains("celeriac · "), "{screen}");
    assert!(screen.contains("Queues"), "{screen}");
    tmux.keys(&["3", "/", "charge", "Enter"]);
    // The demo's first seconds may be without this task.
    tmux.shows("shop.payments.charge_card", 30).await;
    tmux.keys(&["Enter"]);
    let screen = tmux.shows("Task shop.payments.charge_card", 30).await;
    assert!(screen.contains("Succeeded"), "{screen}");
    tmux.keys(&["Escape", "q"]);
    tmux.shows("exit 0", 5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn top_follows_keys_and_the_size_of_the_terminal() {
    let daemon = daemon(DOCUMENT.to_owned()).await;
    let tmux = Tmux::start(80, 24, &["top", "--url", &daemon.url("")], &[]);
    let screen = tmux.shows("celeriac · shop-1 · 0.1.0", 10).await;
    assert!(screen.contains("Overview"), "{screen}");
    tmux.shows("!! The receiver prometheus", 5).await;
    tmux.keys(&["2"]);
    // The overview has no room for this one. Names cannot control the terminal, and columns that do not fit are left out.
    let screen = tmux.shows("pris\\u{1b}", 5).await;
    assert!(screen.contains("Queues 5"), "{screen}");
    assert!(!screen.contains("woRkers"), "{screen}");
    // Wide characters leave nothing behind.
    for (keys, expected) in [
        (&["?"][..], "everything about the selected row"),
        (&["?", "a"], "→ Start more workers for it.\n"),
    ] {
        tmux.keys(keys);
        tmux.shows(expected, 5).await;
    }
    tmux.keys(&["2"]);
    tmux.resize(200, 60);
    let screen = tmux.shows("woRkers", 5).await;
    assert!(screen.contains("Unacked"), "{screen}");
    tmux.resize(50, 10);
    tmux.shows("celeriac top needs 60×15", 5).await;
    tmux.resize(80, 24);
    tmux.keys(&["/", "re:^m", "Enter", "!"]);
    tmux.shows("Queues 3 of 5 not matching \"re:^m\"", 5).await;
    tmux.keys(&["w"]);
    wait_for("the other window", 5, async || {
        let query = daemon.last().uri.query().map(str::to_owned);
        match query.as_deref() {
            Some("window=1h") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    tmux.keys(&["p"]);
    tmux.shows("PAUSED", 5).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let asked = daemon.asked().len();
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert_eq!(daemon.asked().len(), asked, "a pause asks for nothing");
    tmux.keys(&["p", "q"]);
    tmux.shows("exit 0", 5).await;
    tmux.is_restored();
    for asked in daemon.asked() {
        assert_eq!(
            (asked.method.as_str(), asked.uri.path()),
            ("GET", "/api/v1/status")
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn top_survives_outages_of_the_daemon() {
    let daemon = daemon(DOCUMENT.to_owned()).await;
    let proxy = Proxy::start(daemon.address).await;
    let tmux = Tmux::start(
        80,
        24,
        &["top", "--url", &proxy.in_front_of(&daemon.url(""))],
        &[],
    );
    tmux.shows("shop-1", 10).await;
    for (fault, reason) in [
        (Fault::Refuse, "trying again: Connection refused"),
        (Fault::Stall, "the daemon does not answer"),
    ] {
        proxy.set(fault);
        let screen = tmux.shows(reason, 15).await;
        assert!(screen.contains("No new figures for"), "{screen}");
        assert!(screen.contains("media"), "{screen}");
        // Keys do not wait for the network.
        tmux.keys(&["3"]);
        tmux.shows("Tasks 6", 1).await;
        tmux.keys(&["1"]);
        tmux.shows("Summary", 1).await;
        proxy.set(Fault::None);
        wait_for("new figures", 15, async || {
            let screen = tmux.screen();
            if screen.contains("No new figures") {
                Err(screen)
            } else {
                Ok(())
            }
        })
        .await;
    }
    tmux.keys(&["q"]);
    tmux.shows("exit 0", 5).await;
    tmux.is_restored();
}

#[tokio::test(flavor = "multi_thread")]
async fn top_leaves_the_terminal_as_it_was() {
    let url = format!("http://127.0.0.1:{}", free_port());
    // As when a terminal, a service manager or a user ends it.
    for signal in [
        Some(Signal::TERM),
        Some(Signal::INT),
        Some(Signal::HUP),
        None,
    ] {
        let tmux = Tmux::start(80, 24, &["top", "--url", &url], &[]);
        tmux.shows("Connection refused", 10).await;
        match signal {
            Some(signal) => tmux.signal(signal),
            None => tmux.keys(&["C-c"]),
        }
        tmux.shows("exit 0", 5).await;
        tmux.is_restored();
    }
    // The window is closed, so there is no terminal any more.
    let tmux = Tmux::start(80, 24, &["top", "--url", &url], &[]);
    tmux.shows("Connection refused", 10).await;
    let process = format!("/proc/{}", tmux.pid());
    drop(tmux);
    wait_for("the end of a process without a terminal", 5, async || {
        if std::path::Path::new(&process).exists() {
            Err(process.clone())
        } else {
            Ok(())
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn top_writes_no_colours_if_asked_and_clears_the_screen_once() {
    let daemon = daemon(DOCUMENT.to_owned()).await;
    let colours = |raw: &str| {
        let sequences = raw.split("\x1b[").skip(1);
        let styles = sequences.filter_map(|rest| {
            let end = rest.find(|c: char| !c.is_ascii_digit() && c != ';')?;
            (rest[end..].starts_with('m')).then(|| &rest[..end])
        });
        let numbers = styles.flat_map(|style| style.split(';'));
        let numbers = numbers.filter_map(|number| number.parse::<u8>().ok());
        numbers
            .filter(|n| (30..=38).contains(n) || (40..=48).contains(n) || *n >= 90)
            .count()
    };
    for (environment, coloured) in [(&[][..], true), (&["NO_COLOR=1"][..], false)] {
        let tmux = Tmux::start(80, 24, &["top", "--url", &daemon.url("")], environment);
        tmux.shows("shop-1", 10).await;
        for key in ["2", "3", "4", "5", "a", "?"] {
            tmux.keys(&[key]);
            tokio::time::sleep(Duration::from_millis(400)).await;
        }
        let before = tmux.raw();
        tokio::time::sleep(Duration::from_millis(2_500)).await;
        let raw = tmux.raw();
        assert_eq!(colours(&raw) > 0, coloured, "{raw:?}");
        // Once at the beginning, and not with each frame.
        assert!(raw.matches("\x1b[2J").count() <= 1, "{raw:?}");
        let later = raw.len() - before.len();
        assert!(
            later < 2_000,
            "{later} bytes for frames that differ in nothing"
        );
        tmux.keys(&["q"]);
        tmux.shows("exit 0", 5).await;
    }
}
