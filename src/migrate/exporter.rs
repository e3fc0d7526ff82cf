//! The exporters, and how to recognize one.

use super::words::{base_name, split};

/// The exporter whose command line is converted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Exporter {
    CeleryExporter,
    CeleryPrometheusExporter,
    Ovalmoney,
    Flower,
    Zeit,
}

impl Exporter {
    /// Its name, which is also the name of the profile.
    pub const fn name(self) -> &'static str {
        match self {
            Self::CeleryExporter => "celery-exporter",
            Self::CeleryPrometheusExporter => "celery-prometheus-exporter",
            Self::Ovalmoney => "ovalmoney",
            Self::Flower => "flower",
            Self::Zeit => "zeit",
        }
    }

    /// Whether a container with this image and command is this exporter.
    pub(super) fn is_image(self, image: &str, words: &[String]) -> bool {
        let name = base_name(image).split([':', '@']).next();
        let of_other = match self {
            Self::CeleryExporter => image.to_lowercase().contains("ovalmoney/"),
            Self::Ovalmoney => image.contains("danihodovic/"),
            Self::CeleryPrometheusExporter | Self::Flower | Self::Zeit => false,
        };
        let is_image = match self {
            Self::CeleryExporter | Self::Ovalmoney => name == Some("celery-exporter"),
            Self::CeleryPrometheusExporter => name == Some("celery-prometheus-exporter"),
            Self::Flower => name == Some("flower"),
            Self::Zeit => false,
        };
        !of_other && (is_image || self.is_run_by(words))
    }

    /// Whether a command runs this exporter, also in a script.
    pub(super) fn is_run_by(self, words: &[String]) -> bool {
        let words: Vec<_> = words.iter().flat_map(|word| split(word)).collect();
        let has = |name: &str| words.iter().any(|word| base_name(word) == name);
        match self {
            Self::CeleryExporter => has("celery-exporter") || has("cli.py"),
            Self::Ovalmoney => has("celery-exporter") || has("celery_exporter"),
            Self::CeleryPrometheusExporter => {
                has("celery-prometheus-exporter") || has("celery_prometheus_exporter.py")
            }
            Self::Flower => has("flower"),
            Self::Zeit => has("celery") && has("prometheus"),
        }
    }
}
