//! Allocates the channel numbers of a connection.

/// Tracks which channel numbers are in use.
#[derive(Debug)]
pub(super) struct Channels {
    /// Numbers below `unused` that are free again.
    free: Vec<u16>,
    unused: u16,
    most: u16,
}

impl Channels {
    /// Allows `most` channels, numbered from 1. Channel 0 is the connection itself.
    pub(super) const fn new(most: u16) -> Self {
        Self {
            free: Vec::new(),
            unused: 1,
            most,
        }
    }

    /// Allocates a number, if one is free.
    pub(super) fn open(&mut self) -> Option<u16> {
        if let Some(number) = self.free.pop() {
            return Some(number);
        }
        let number = self.unused;
        if number > self.most {
            return None;
        }
        self.unused += 1;
        Some(number)
    }

    pub(super) fn is_open(&self, number: u16) -> bool {
        number > 0 && number < self.unused && !self.free.contains(&number)
    }

    /// Frees a number. Returns whether it was in use.
    pub(super) fn close(&mut self, number: u16) -> bool {
        let was_open = self.is_open(number);
        if was_open {
            self.free.push(number);
        }
        was_open
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_used_again_once_it_was_closed() {
        let mut channels = Channels::new(2);
        assert_eq!([1, 2].map(|_| channels.open()), [Some(1), Some(2)]);
        assert_eq!(channels.open(), None);
        assert!(channels.close(1));
        assert!(!channels.is_open(1));
        // Closing it again changes nothing.
        assert!(!channels.close(1));
        assert_eq!(channels.open(), Some(1));
        assert_eq!(channels.open(), None);
        for never_open in [0, 3, u16::MAX] {
            assert!(!channels.close(never_open), "{never_open}");
        }
    }

    #[test]
    fn every_number_of_the_protocol_can_be_used() {
        let mut channels = Channels::new(u16::MAX - 1);
        for number in 1..u16::MAX {
            assert_eq!(channels.open(), Some(number));
        }
        assert_eq!(channels.open(), None);
    }
}
