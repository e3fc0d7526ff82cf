//! A protobuf writer without any checks, for deliberately invalid requests.

/// A message being written.
#[derive(Clone, Debug, Default)]
pub struct Message(pub Vec<u8>);

impl Message {
    pub fn new() -> Self {
        Self::default()
    }

    fn raw(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.0.push(value.to_le_bytes()[0]);
    }

    pub fn varint(mut self, number: u64, value: u64) -> Self {
        self.raw(number << 3);
        self.raw(value);
        self
    }

    pub fn signed(self, number: u64, value: i64) -> Self {
        self.varint(number, value.cast_unsigned())
    }

    /// `sint32` and `sint64`.
    pub fn zigzag(self, number: u64, value: i64) -> Self {
        self.varint(number, zigzag(value))
    }

    pub fn double(mut self, number: u64, value: f64) -> Self {
        self.raw(number << 3 | 1);
        self.0.extend(value.to_bits().to_le_bytes());
        self
    }

    pub fn bytes(mut self, number: u64, bytes: &[u8]) -> Self {
        self.raw(number << 3 | 2);
        self.raw(bytes.len() as u64);
        self.0.extend(bytes);
        self
    }

    pub fn text(self, number: u64, text: &str) -> Self {
        self.bytes(number, text.as_bytes())
    }

    pub fn message(self, number: u64, message: &Self) -> Self {
        self.bytes(number, &message.0)
    }

    /// Writes a packed field of numbers.
    pub fn packed(self, number: u64, values: &[u64]) -> Self {
        let mut packed = Self::new();
        for value in values {
            packed.raw(*value);
        }
        self.message(number, &packed)
    }
}

pub fn zigzag(value: i64) -> u64 {
    (value << 1 ^ value >> 63).cast_unsigned()
}
