//! `celeriac top`: the document in a terminal, once a second.
//!
//! One task does everything: it waits for a key, a document, a signal or the next second, changes the [`State`] and draws
//! it. Fetching is one more future of that task, so keys never wait for the network. Only reading keys blocks, on a
//! thread of its own.

mod canvas;
mod draw;
mod keys;
mod letters;
mod overlay;
mod screen;
mod state;
mod tables;
mod theme;

#[cfg(test)]
mod tests;

use std::io::{self, IsTerminal};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ratatui::crossterm::event::{self, Event};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use self::keys::Next;
use self::screen::Screen;
use self::state::{Failure, State};
pub use self::theme::Theme;
use super::client::{Client, FetchError, Fetched};
use crate::clock;
use crate::status::query::Window;

/// How often the document is fetched, and the screen drawn without one.
const INTERVAL: Duration = Duration::from_secs(1);

/// Maximum time between two attempts to reach the daemon.
const RETRY_MAX: Duration = Duration::from_secs(8);

/// How often the thread that reads keys checks whether it is needed.
const KEYS_PATIENCE: Duration = Duration::from_millis(100);

/// Number of keys that may wait.
const KEYS_WAITING: usize = 256;

/// What is shown at first.
#[derive(Clone, Debug)]
pub struct Options {
    /// As in `q=`.
    pub filter: String,
    pub window: Window,
    pub theme: Theme,
}

/// A document that is being fetched.
type Fetching<'c> = Pin<Box<dyn Future<Output = Result<Fetched, FetchError>> + Send + 'c>>;

/// Returns why there can be no interactive view, if that is so.
pub fn obstacle() -> Option<&'static str> {
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        return Some("not a terminal; for output to a file or pipe, run `celeriac status`");
    }
    if std::env::var_os("TERM").is_some_and(|term| term == "dumb") {
        return Some("the terminal cannot place text (TERM=dumb); run `celeriac status`");
    }
    None
}

/// Shows the document until a key or a signal ends it.
pub async fn run(client: &Client, options: Options) -> io::Result<()> {
    let mut signals = [
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
        signal(SignalKind::hangup())?,
    ];
    let url = client.target().shown();
    let now = clock::monotonic();
    let mut state = State::new(url, &options.filter, options.window, now);
    let mut screen = Screen::open(options.theme)?;
    let mut events = Events::read()?;
    let mut fetching = fetch_after(client, state.window, Some(Duration::ZERO));
    let mut retries = 0;
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        state.now = clock::monotonic();
        screen.draw(&mut state)?;
        let [terminate, interrupt, hangup] = &mut signals;
        tokio::select! {
            biased;
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            _ = hangup.recv() => return Ok(()),
            event = events.received.recv() => {
                let next = match event {
                    Some(Ok(event)) => handle(&mut state, &mut events, event),
                    Some(Err(error)) => return Err(error),
                    None => Next::Quit,
                };
                match next {
                    Next::Stay => {}
                    Next::Quit => return Ok(()),
                    Next::Fetch => {
                        fetching = fetch_after(client, state.window, Some(Duration::ZERO));
                    }
                    Next::Pause => fetching = fetch_after(client, state.window, None),
                }
            }
            fetched = &mut fetching => {
                state.now = clock::monotonic();
                let delay = arrived(&mut state, fetched, &mut retries);
                fetching = fetch_after(client, state.window, delay);
            }
            _ = ticks.tick() => {}
        }
    }
}

/// Handles an event, and all others that have arrived since, so that a burst is drawn once.
fn handle(state: &mut State, events: &mut Events, first: Event) -> Next {
    let mut all = Next::Stay;
    let mut event = Some(first);
    while let Some(one) = event {
        if let Event::Key(key) = one {
            match state.key(key) {
                Next::Stay => {}
                Next::Quit => return Next::Quit,
                next @ (Next::Fetch | Next::Pause) => all = next,
            }
        }
        // An error is returned by the next call too.
        event = events.received.try_recv().ok().and_then(Result::ok);
    }
    all
}

/// Shows a document or why there is none. Returns when to fetch the next one.
fn arrived(
    state: &mut State,
    fetched: Result<Fetched, FetchError>,
    retries: &mut u32,
) -> Option<Duration> {
    match fetched {
        Ok(fetched) => {
            *retries = 0;
            state.fetched(Ok(fetched.status));
            (!state.paused).then_some(INTERVAL)
        }
        Err(error) => {
            let delay = INTERVAL
                .saturating_mul(1 << (*retries).min(8))
                .min(RETRY_MAX);
            *retries += 1;
            state.fetched(Err(Failure {
                brief: error.brief(),
                message: error.to_string(),
            }));
            Some(delay)
        }
    }
}

/// Fetches a document after a delay, or never.
fn fetch_after(client: &Client, window: Window, delay: Option<Duration>) -> Fetching<'_> {
    Box::pin(async move {
        match delay {
            Some(delay) => tokio::time::sleep(delay).await,
            None => std::future::pending().await,
        }
        client.fetch(window).await
    })
}

/// Keys and changes of the size, which a thread of its own reads until this is dropped.
struct Events {
    received: mpsc::Receiver<io::Result<Event>>,
    stop: Arc<AtomicBool>,
}

impl Events {
    /// Starts the thread. The runtime would wait for one of its own at the end, and without a terminal, reading may
    /// never return.
    fn read() -> io::Result<Self> {
        let (sender, received) = mpsc::channel(KEYS_WAITING);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("keys".to_owned());
        thread.spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let event = match event::poll(KEYS_PATIENCE) {
                    Ok(false) => continue,
                    Ok(true) => event::read(),
                    Err(error) => Err(error),
                };
                let failed = event.is_err();
                if sender.blocking_send(event).is_err() || failed {
                    return;
                }
            }
        })?;
        Ok(Self { received, stop })
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
