//! Decompresses zstd, with another decoder than the sender's.

use std::io::Read;

use ruzstd::decoding::StreamingDecoder;

pub fn decode(body: &[u8]) -> Result<Vec<u8>, String> {
    let decoder = StreamingDecoder::new(body).map_err(|error| error.to_string());
    let mut raw = Vec::new();
    let read = decoder?.read_to_end(&mut raw);
    read.map(|_| raw).map_err(|error| error.to_string())
}
