use super::*;
use crate::clock;

/// A receiver that refuses certain series, and a sender with a limited number of extra requests per
/// snapshot.
struct Simulation {
    all: Vec<Labels>,
    bad: HashSet<Key>,
    budget: usize,
    search: Search,
    suspects: HashSet<Key>,
    quarantined: HashSet<Key>,
    sets: Vec<Vec<Key>>,
    tests: usize,
}

impl Simulation {
    fn new(all: Vec<Labels>, budget: usize, is_bad: impl Fn(&Labels) -> bool) -> Self {
        let bad = all
            .iter()
            .filter(|labels| is_bad(labels))
            .map(|labels| labels.key);
        Self {
            bad: bad.collect(),
            all,
            budget,
            search: Search::default(),
            suspects: HashSet::new(),
            quarantined: HashSet::new(),
            sets: Vec::new(),
            tests: 0,
        }
    }

    /// Runs one snapshot: unsuspected series first, then tests. Returns the share of good series on
    /// time.
    fn snapshot(&mut self) -> f64 {
        let known = |labels: &&Labels| {
            !self.suspects.contains(&labels.key) && !self.quarantined.contains(&labels.key)
        };
        let ordinary: Vec<_> = self.all.iter().filter(known).cloned().collect();
        for request in ordinary.chunks(REQUEST_MAX) {
            if request.iter().any(|labels| self.bad.contains(&labels.key)) {
                self.suspects
                    .extend(request.iter().map(|labels| labels.key));
                self.search.add(request.iter().cloned(), Cause::Series);
            }
        }
        for _ in 0..self.budget {
            let Some(keys) = self.search.next(REQUEST_MAX / 3, None, clock::monotonic()) else {
                break;
            };
            assert!(
                !keys.is_empty() && keys.len() <= REQUEST_MAX / 3,
                "{}",
                keys.len()
            );
            self.tests += 1;
            let is_refused = keys.iter().any(|key| self.bad.contains(key));
            let answer = if is_refused {
                Err(Cause::Series)
            } else {
                Ok(())
            };
            let found = self.search.answered(answer);
            for labels in found.good {
                assert!(self.suspects.remove(&labels.key), "{labels} twice");
            }
            for (set, _) in found.bad {
                for labels in &set {
                    assert!(self.suspects.remove(&labels.key), "{labels} twice");
                    self.quarantined.insert(labels.key);
                }
                self.sets
                    .push(set.iter().map(|labels| labels.key).collect());
            }
            assert_eq!(self.suspects.len(), self.search.suspects());
        }
        let good = self.all.len() - self.bad.len();
        let late = self
            .suspects
            .union(&self.quarantined)
            .filter(|key| !self.bad.contains(key))
            .count();
        (good - late) as f64 / good as f64
    }

    /// Runs several snapshots, and returns the share of good series on time after each.
    fn run(&mut self, snapshots: usize) -> Vec<f64> {
        (0..snapshots).map(|_| self.snapshot()).collect()
    }

    fn assert_found(&self) {
        assert_eq!(self.quarantined, self.bad, "{} tests", self.tests);
        assert!(self.search.is_idle());
    }
}

/// `names` task names with `queues` queues, each with counters and a histogram.
fn tasks(names: usize, queues: usize) -> Vec<Labels> {
    let mut all = Vec::new();
    let counters = (0..12).map(|n| (format!("celery_task_{n}_total"), String::new()));
    let buckets = (0..16).map(|n| {
        (
            "celery_task_runtime_seconds_bucket".to_owned(),
            format!("{n}.0"),
        )
    });
    for (metric, le) in counters.chain(buckets) {
        for n in 0..names {
            let (name, queue) = (format!("task.{n}"), format!("queue.{}", n % queues));
            let mut pairs = vec![
                ("__name__", &*metric),
                ("job", "celery"),
                ("name", &name),
                ("queue", &queue),
            ];
            if !le.is_empty() {
                pairs.push(("le", &le));
            }
            all.push(Labels::of(&pairs));
        }
    }
    all
}

/// Returns the number, starting at 1, of the snapshot from which at least this share of the good
/// series stays on time.
fn since(shares: &[f64], share: f64) -> usize {
    let late = shares.iter().rposition(|on_time| *on_time < share);
    late.map_or(1, |late| late + 2)
}

#[test]
fn sixty_of_eighty_task_names_are_found_at_six_requests_a_snapshot() {
    let refused = |labels: &Labels| {
        labels.value("name")[5..]
            .parse::<usize>()
            .expect("a number")
            % 4
            != 0
    };
    let mut simulation = Simulation::new(tasks(80, 3), 6, refused);
    let shares = simulation.run(50);
    assert!(since(&shares, 1.0) <= 25, "{shares:?}");
    simulation.assert_found();
    assert!(simulation.sets.len() < 100, "{}", simulation.sets.len());
}

#[test]
fn a_label_value_of_half_of_all_series_is_found_within_ten_snapshots() {
    for queues in [2, 4] {
        let refused = |labels: &Labels| matches!(labels.value("queue"), "queue.0" | "queue.2");
        let mut simulation = Simulation::new(tasks(720, queues), 6, refused);
        let shares = simulation.run(10);
        assert!(since(&shares, 1.0) <= 10, "{shares:?}");
        simulation.assert_found();
    }
}

#[test]
fn most_series_of_a_label_value_are_not_all_of_them() {
    let own = (0..100).map(|n| {
        let name = format!("celeriac_{n}_total");
        Labels::of(&[("__name__", &name), ("job", "celery")])
    });
    let tasks = tasks(80, 1).into_iter().map(|labels| {
        let pairs = labels.iter().chain([("broker", "a")]);
        Labels::of(&pairs.collect::<Vec<_>>())
    });
    let refused = |labels: &Labels| {
        let name = labels.value("name").strip_prefix("task.");
        name.and_then(|name| name.parse::<usize>().ok())
            .is_some_and(|name| name % 4 != 0)
    };
    let mut simulation = Simulation::new(own.chain(tasks).collect(), 6, refused);
    let shares = simulation.run(50);
    assert!(since(&shares, 1.0) <= 25, "{shares:?}");
    simulation.assert_found();
}

#[test]
fn one_refused_metric_or_task_or_series_is_found() {
    type Refuses = fn(&Labels) -> bool;
    let cases: [(&str, Refuses); 3] = [
        ("metric", |labels| {
            labels.value("__name__") == "celery_task_7_total"
        }),
        ("task", |labels| labels.value("name") == "task.37"),
        ("series", |labels| {
            labels.value("name") == "task.37" && labels.value("le") == "3.0"
        }),
    ];
    for (case, refused) in cases {
        for (names, budget) in [(70, 6), (700, 45)] {
            let mut simulation = Simulation::new(tasks(names, 3), budget, refused);
            let shares = simulation.run(30);
            assert!(since(&shares, 0.9) <= 6, "{case}: {shares:?}");
            simulation.assert_found();
        }
    }
}

#[test]
fn two_hundred_scattered_series_are_found_within_sixty_snapshots() {
    let mut worst = 0;
    for seed in 0..5 {
        let mut random = fastrand::Rng::with_seed(seed);
        let all = tasks(720, 3);
        let bad: HashSet<Key> = random
            .choose_multiple(all.iter(), 200)
            .iter()
            .map(|labels| labels.key)
            .collect();
        let mut simulation = Simulation::new(all, 45, |labels| bad.contains(&labels.key));
        let shares = simulation.run(60);
        simulation.assert_found();
        worst = worst.max(since(&shares, 0.9));
    }
    assert!(worst <= 24, "{worst}");
}

#[test]
fn a_receiver_that_refuses_everything_is_asked_a_few_times() {
    let mut simulation = Simulation::new(tasks(700, 3), 6, |_| true);
    simulation.run(5);
    assert!(simulation.tests <= 30, "{}", simulation.tests);
    simulation.assert_found();
}

#[test]
fn few_suspects_are_halved() {
    let all = tasks(1, 1).split_off(14);
    let bad = all[5].key;
    let mut simulation = Simulation::new(all, 20, |labels| labels.key == bad);
    simulation.run(2);
    assert!(simulation.tests <= 8, "{}", simulation.tests);
    simulation.assert_found();
}

#[test]
fn who_takes_them_again_gets_all_of_them() {
    let mut simulation = Simulation::new(tasks(80, 3), 45, |_| true);
    simulation.run(2);
    simulation.assert_found();
    simulation.bad.clear();
    let again: Vec<_> = simulation.all.clone();
    simulation.suspects.extend(simulation.quarantined.drain());
    simulation.search.add(again, Cause::Series);
    let before = simulation.tests;
    simulation.run(2);
    assert!(
        simulation.tests - before <= 20,
        "{}",
        simulation.tests - before
    );
    simulation.assert_found();
}
