//! Payloads: drawn sizes of filler, or the lines of a file in turn.

use super::random::Random;
use super::sizes::Sizes;
use super::stamp::STAMP_BYTES;

/// Where a message's stamp is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StampPlace {
    /// The first bytes of its payload.
    Payload,
    /// A header.
    Header,
}

/// What messages carry beside their stamps.
#[derive(Debug, Clone)]
pub(crate) enum Payloads {
    /// Filler of these sizes, the stamp included where it is in the payload.
    Drawn(Sizes, Vec<u8>),
    /// These, in turn.
    Given(Vec<Vec<u8>>),
}

impl Payloads {
    /// Filler of these sizes: printable, and nowhere alike for a few bytes.
    pub(crate) fn drawn(sizes: Sizes) -> Self {
        let mut random = Random::new(0x6d69_6c6c, 0);
        let filler = (0..sizes.most()).map(|_| b' ' + random.below(95) as u8);
        let filler = filler.collect();
        Self::Drawn(sizes, filler)
    }

    /// Where stamps can be: only in a header, where some payload is too small or all are given.
    pub(crate) fn stamp_place(&self) -> StampPlace {
        match self {
            Self::Drawn(sizes, _) if sizes.least() as usize >= STAMP_BYTES => StampPlace::Payload,
            Self::Drawn(..) | Self::Given(_) => StampPlace::Header,
        }
    }

    /// Bytes of the largest.
    pub(crate) fn most(&self) -> usize {
        match self {
            Self::Drawn(sizes, _) => sizes.most() as usize,
            Self::Given(all) => all.iter().map(Vec::len).max().unwrap_or(0),
        }
    }

    /// The payload of a message, without the stamp.
    pub(crate) fn rest(&self, place: StampPlace, sequence: u64, random: &mut Random) -> &[u8] {
        match self {
            Self::Given(all) => &all[(sequence % all.len() as u64) as usize],
            Self::Drawn(sizes, filler) => {
                let stamp = match place {
                    StampPlace::Payload => STAMP_BYTES,
                    StampPlace::Header => 0,
                };
                let bytes = (sizes.draw(random) as usize).max(stamp);
                &filler[..bytes - stamp]
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_go_where_there_is_room() {
        let place = |text| Payloads::drawn(Sizes::parse(text).unwrap()).stamp_place();
        assert_eq!(place("24"), StampPlace::Payload);
        assert_eq!(place("23"), StampPlace::Header);
        assert_eq!(place("lognormal:500,1,1000"), StampPlace::Header);
        assert_eq!(
            Payloads::Given(vec![vec![0; 99]]).stamp_place(),
            StampPlace::Header
        );
    }

    #[test]
    fn the_stamp_is_part_of_a_drawn_size_and_not_of_a_given_one() {
        let mut random = Random::new(0, 0);
        let drawn = Payloads::drawn(Sizes::Fixed(128));
        assert_eq!(drawn.rest(StampPlace::Payload, 0, &mut random).len(), 104);
        assert_eq!(drawn.rest(StampPlace::Header, 0, &mut random).len(), 128);
        let given = Payloads::Given(vec![b"a".to_vec(), b"bc".to_vec()]);
        assert_eq!(given.rest(StampPlace::Header, 3, &mut random), b"bc");
        assert_eq!((drawn.most(), given.most()), (128, 2));
    }
}
