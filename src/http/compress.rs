//! Compresses a page with the coding that the scraper requested.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::negotiate::Coding;

pub(super) fn compress(page: Vec<u8>, coding: Coding) -> Vec<u8> {
    match coding {
        Coding::Identity => page,
        Coding::Gzip => gzip(&page),
        Coding::Zstd => zstd(&page),
    }
}

/// Compresses with gzip at the fastest level, which reduces a page to a seventeenth in about the
/// time it takes to render. The default level takes twelve times as long and saves another third.
fn gzip(page: &[u8]) -> Vec<u8> {
    let room = Vec::with_capacity(page.len() / 8);
    let mut encoder = GzEncoder::new(room, Compression::fast());
    let written = encoder.write_all(page).and_then(|()| encoder.finish());
    written.expect("a vector takes what it is given")
}

/// Compresses with zstd at its fastest regular level. Fails only if memory runs out.
fn zstd(page: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(page, 1).expect("a page is compressed in memory")
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;

    use super::*;

    #[test]
    fn a_page_is_the_same_behind_each_coding() {
        let page = b"celery_task_sent_total{name=\"a\"} 1\n".repeat(1000);
        assert_eq!(compress(page.clone(), Coding::Identity), page);

        for coding in [Coding::Gzip, Coding::Zstd] {
            let compressed = compress(page.clone(), coding);
            let mut read = Vec::new();
            let mut source = compressed.as_slice();
            // An independent zstd decoder, written in Rust.
            let decoded = if coding == Coding::Gzip {
                GzDecoder::new(source).read_to_end(&mut read)
            } else {
                let decoder = ruzstd::decoding::StreamingDecoder::new(&mut source);
                decoder.expect("zstd").read_to_end(&mut read)
            };
            decoded.expect("a sound page");
            assert_eq!(read, page, "{coding:?}");
            assert!(compressed.len() < page.len() / 10, "{coding:?}");
        }
    }
}
