use futures_util::future::join_all;
use tokio::sync::watch;

use super::*;
use crate::series::{Family, LabelSet, MetricKind, Room, SeriesTable};
use crate::telemetry::http::HttpMetrics;
use crate::timestamp::Timestamp;

/// A page whose text rendering is slightly larger than `bytes`.
struct Pages {
    series: SeriesTable,
    sender: watch::Sender<Arc<Snapshot>>,
    page: Arc<Page>,
    renderings: Renderings,
    metrics: HttpMetrics,
}

impl Pages {
    fn new(bytes: usize) -> Self {
        let mut series = SeriesTable::new(100, Timestamp::default());
        let family = series.family(Family {
            name: "sent_total".into(),
            kind: MetricKind::Counter,
            help: "Sent.",
            labels: Vec::new(),
        });
        let name = (
            crate::series::LabelName::from_static("name"),
            "x".repeat(bytes).into(),
        );
        series
            .open(family, LabelSet::new([name]), Room::Limited)
            .expect("room");
        let first = series.snapshot(Timestamp::from_millis(1_000), false);
        let (sender, snapshots) = watch::channel(Arc::new(first));
        let page = Arc::new(Page {
            path: "/metrics".to_owned(),
            snapshots,
            native_histograms: false,
            created_series: false,
        });
        let metrics = HttpMetrics::default();
        let limits = Arc::new(Limits::new(metrics.clone()));
        let renderings = Renderings::new(limits);
        Self {
            series,
            sender,
            page,
            renderings,
            metrics,
        }
    }

    fn next_snapshot(&mut self) {
        let number = self.sender.borrow().number + 1;
        let at = Timestamp::from_millis(i64::try_from(number).expect("few") * 1_000);
        self.sender
            .send_replace(Arc::new(self.series.snapshot(at, false)));
    }

    async fn ask(&self, syntax: Syntax, coding: Coding) -> RenderingBody {
        let body = self.renderings.newest(&self.page, syntax, coding).await;
        body.expect("a rendering")
    }

    fn dropped(&self) -> u64 {
        self.metrics.limited(HttpLimit::Renderings).get()
    }
}

/// Reads a whole body; returns the error if it ends with one.
fn read(mut body: RenderingBody) -> Result<Vec<u8>, Dropped> {
    let mut read = Vec::new();
    let mut cx = Context::from_waker(std::task::Waker::noop());
    while let Poll::Ready(Some(frame)) = Pin::new(&mut body).poll_frame(&mut cx) {
        read.extend_from_slice(&frame?.into_data().expect("data"));
    }
    Ok(read)
}

#[tokio::test]
async fn everyone_who_asks_for_the_same_gets_one_rendering() {
    let mut pages = Pages::new(300_000);
    let asked = (0..50).map(|_| pages.ask(Syntax::Text004, Coding::Identity));
    let bodies = join_all(asked).await;
    assert_eq!(pages.renderings.held().len(), 1);
    // Another version of the same syntax, and later the same again.
    pages.ask(Syntax::Text100, Coding::Identity).await;
    assert_eq!(pages.renderings.held().len(), 1);
    let expected = text::render(&pages.sender.borrow()).into_bytes();
    for body in bodies {
        assert_eq!(body.size_hint().exact(), Some(expected.len() as u64));
        assert_eq!(read(body).expect("held"), expected);
    }

    for (syntax, coding) in [
        (Syntax::OpenMetrics100, Coding::Identity),
        (Syntax::Text004, Coding::Gzip),
    ] {
        pages.ask(syntax, coding).await;
    }
    assert_eq!(pages.renderings.held().len(), 3);
    pages.next_snapshot();
    pages.ask(Syntax::Text004, Coding::Identity).await;
    assert_eq!(pages.renderings.held().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn an_older_snapshot_is_kept_for_as_long_as_someone_reads_it() {
    let mut pages = Pages::new(300_000);
    let body = pages.ask(Syntax::Text004, Coding::Identity).await;
    let tidy = async |pages: &Pages| {
        let tidying = pages.renderings.keep_tidy();
        assert!(
            tokio::time::timeout(TIDY_INTERVAL * 2, tidying)
                .await
                .is_err()
        );
        pages.renderings.held().len()
    };
    pages.next_snapshot();
    assert_eq!(tidy(&pages).await, 1);
    assert!(read(body).expect("held").len() > 300_000);
    assert_eq!(tidy(&pages).await, 0);
    // The rendering of the newest snapshot stays for the next request.
    pages.ask(Syntax::Text004, Coding::Identity).await;
    assert_eq!(tidy(&pages).await, 1);
}

#[tokio::test]
async fn slow_readers_of_old_snapshots_are_cut_off_when_memory_runs_out() {
    let size = BYTES_MAX / 5;
    let mut pages = Pages::new(size);
    let mut bodies = Vec::new();
    for _ in 0..10 {
        bodies.push(pages.ask(Syntax::Text004, Coding::Identity).await);
        let total: usize = pages
            .renderings
            .held()
            .iter()
            .map(|held| held.bytes())
            .sum();
        assert!(total <= BYTES_MAX, "{total}");
        pages.next_snapshot();
    }
    // A page is slightly larger than a fifth.
    assert_eq!(pages.dropped(), 6);
    for (at, body) in bodies.into_iter().enumerate() {
        assert_eq!(read(body).is_err(), at < 6, "{at}");
    }
}

#[tokio::test]
async fn what_nobody_reads_goes_first_and_large_pages_have_room_for_four() {
    let mut pages = Pages::new(BYTES_MAX);
    let first = pages.ask(Syntax::Text004, Coding::Identity).await;
    for _ in 0..6 {
        pages.next_snapshot();
        pages.ask(Syntax::Text004, Coding::Identity).await;
        assert!(pages.renderings.held().len() <= LARGEST_MIN);
    }
    assert_eq!(pages.renderings.held().len(), LARGEST_MIN);
    assert_eq!(pages.dropped(), 0);
    assert!(read(first).is_ok());
}
