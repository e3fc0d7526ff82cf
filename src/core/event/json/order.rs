//! Expects the keys of an event in the order of earlier events.
//!
//! Celery writes the members of each type of event in the same order. After a key, one of a few
//! others usually follows, and comparing the next bytes with those takes less time than finding the
//! end of the key and then the field with that name.

use wide::u8x16;

use super::BLOCK;
use crate::event::fields::Field;

/// The most keys. Celery's events have about 40.
const KEYS: usize = 64;

/// How many keys may follow one. Up to four are common: task events differ after the uuid.
const FOLLOWERS: usize = 4;

/// No key. The first entry stands for the start of an event.
const NONE: u8 = 0;

/// Which key follows which, learned from what was read.
#[derive(Debug)]
pub struct KeyOrder {
    keys: Vec<Key>,
}

/// A key and what followed it.
#[derive(Clone, Copy, Debug)]
struct Key {
    /// The key as Python writes it, with its quotes and what separates it from its value.
    bytes: [u8; BLOCK],
    /// A bit for each of these bytes.
    wanted: u32,
    length: u8,
    field: Option<Field>,
    /// Most recently learned first.
    followers: [u8; FOLLOWERS],
}

/// A key in the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place(u8);

impl Default for KeyOrder {
    fn default() -> Self {
        Self {
            keys: vec![Key::new([0; BLOCK], 0, None)],
        }
    }
}

impl KeyOrder {
    pub(super) const START: Place = Place(NONE);

    /// The key at the start of `bytes`, with its field and its length up to the value, if it is one
    /// that followed `previous` before.
    #[inline(always)]
    pub(super) fn expect(
        &self,
        previous: Place,
        bytes: &[u8],
    ) -> Option<(Place, Option<Field>, usize)> {
        let block = u8x16::new(*bytes.first_chunk()?);
        for at in self.keys[usize::from(previous.0)].followers {
            let key = &self.keys[usize::from(at)];
            let equal = block.simd_eq(u8x16::new(key.bytes)).to_bitmask();
            if equal & key.wanted == key.wanted && at != NONE {
                return Some((Place(at), key.field, usize::from(key.length)));
            }
        }
        None
    }

    /// Learns that a key follows `previous`.
    #[cold]
    pub(super) fn learn(&mut self, previous: Place, name: &[u8], field: Option<Field>) -> Place {
        let mut bytes = [0; BLOCK];
        let length = name.len() + "\"\": ".len();
        let Some(written) = bytes.get_mut(..length) else {
            return Self::START;
        };
        written[0] = b'"';
        written[1..=name.len()].copy_from_slice(name);
        written[1 + name.len()..].copy_from_slice(b"\": ");
        let known = self.keys[1..].iter().position(|key| key.bytes == bytes);
        let at = known.map_or(self.keys.len(), |at| at + 1);
        if at == KEYS {
            // Other events than Celery's, so what was learned helps little.
            *self = Self::default();
            return Self::START;
        }
        if known.is_none() {
            self.keys.push(Key::new(bytes, length, field));
        }
        let at = u8::try_from(at).expect("fewer than 256 keys");
        let followers = &mut self.keys[usize::from(previous.0)].followers;
        let last = followers.iter().position(|follower| *follower == at);
        followers[..=last.unwrap_or(FOLLOWERS - 1)].rotate_right(1);
        followers[0] = at;
        Place(at)
    }
}

impl Key {
    fn new(bytes: [u8; BLOCK], length: usize, field: Option<Field>) -> Self {
        Self {
            bytes,
            wanted: (1 << length) - 1,
            length: u8::try_from(length).expect("a key fits in a block"),
            field,
            followers: [NONE; FOLLOWERS],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_expected_after_the_one_that_it_followed() {
        let mut order = KeyOrder::default();
        let uuid = order.learn(KeyOrder::START, b"uuid", Some(Field::Uuid));
        let args = order.learn(uuid, b"args", None);
        let name = order.learn(uuid, b"name", Some(Field::Name));

        let expect = |previous, text: &str| order.expect(previous, text.as_bytes());
        let uuid_text = "\"uuid\": \"0123456789abcdef\"";
        assert_eq!(
            expect(KeyOrder::START, uuid_text),
            Some((uuid, Some(Field::Uuid), 8))
        );
        assert_eq!(
            expect(uuid, "\"name\": \"abcdefghi"),
            Some((name, Some(Field::Name), 8))
        );
        assert_eq!(expect(uuid, "\"args\": \"[1, 2, 3"), Some((args, None, 8)));
        for other in [
            "\"names\": \"abcdefgh",
            "\"name\" : \"abcdefgh",
            "\"name\": 1",
            uuid_text,
        ] {
            assert_eq!(expect(uuid, other), None, "{other}");
        }
        assert_eq!(expect(args, "\"name\": \"abcdefghi"), None);
    }

    #[test]
    fn long_keys_are_not_learned_and_too_many_start_over() {
        let mut order = KeyOrder::default();
        assert_eq!(
            order.learn(KeyOrder::START, b"thirteenbytes", None),
            KeyOrder::START
        );
        let mut previous = KeyOrder::START;
        for n in 0..KEYS - 1 {
            previous = order.learn(previous, format!("key{n}").as_bytes(), None);
            assert_ne!(previous, KeyOrder::START);
        }
        assert_eq!(order.learn(previous, b"key0", None), Place(1));
        assert_eq!(order.learn(previous, b"more", None), KeyOrder::START);
        assert_eq!(order.keys.len(), 1);
    }
}
