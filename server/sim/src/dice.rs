//! Randomness that depends on the seed and on what is rolled for, never on the order of requests.

/// The same seed and the same subject always roll the same.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64, subject: &[&str]) -> Self {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64 ^ seed;
        for part in subject {
            for byte in part.bytes().chain([0xff]) {
                hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
            }
        }
        Self(hash)
    }

    /// The next 64 bits (splitmix64).
    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from `low` to `high`, both included.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.bits() % (high - low + 1)
    }

    /// Whether something happens that does in so many of a hundred cases.
    pub(crate) fn happens(&mut self, percent: f64) -> bool {
        // 53 bits are what a float holds exactly.
        ((self.bits() >> 11) as f64) < percent / 100.0 * (1_u64 << 53) as f64
    }

    /// `digits` lower-case hex digits, at most 32.
    pub(crate) fn hex(&mut self, digits: usize) -> String {
        let mut text = format!("{:016x}{:016x}", self.bits(), self.bits());
        text.truncate(digits);
        text
    }

    /// `digits` decimal digits, at most 16.
    pub(crate) fn decimal(&mut self, digits: usize) -> String {
        let mut text = format!("{:016}", self.bits() % 10_000_000_000_000_000);
        text.truncate(digits);
        text
    }

    pub(crate) fn uuid(&mut self) -> String {
        uuid::Builder::from_random_bytes((u128::from(self.bits()) << 64 | u128::from(self.bits())).to_be_bytes())
            .into_uuid()
            .to_string()
    }

    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = usize::try_from(self.between(0, last as u64)).unwrap_or(0);
            items.swap(last, other);
        }
    }
}
