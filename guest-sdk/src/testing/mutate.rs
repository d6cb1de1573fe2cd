//! Bytes that are nearly right: what a decoder gets wrong, if anything.

use super::Random;

/// Numbers at which lengths and counts go wrong.
const EDGES: [u64; 8] = [0, 1, 0x7f, 0x80, 0xff, 0xffff, u32::MAX as u64, u64::MAX];

/// One of these, changed in one to four places: bits flipped, numbers replaced by extreme ones, pieces cut out, doubled, moved
/// or made up, and pieces of the others put in. Empty for none of them.
pub fn mutated<B: AsRef<[u8]>>(of: &[B], random: &mut Random) -> Vec<u8> {
    let Some(one) = random.pick(of) else { return Vec::new() };
    let mut bytes = one.as_ref().to_vec();
    for _ in 0..random.within(1..5) {
        let (low, high) = piece(&bytes, random);
        match random.within(0..8) {
            0 | 1 if low < bytes.len() => bytes[low] ^= 1 << random.within(0..8),
            2 => {
                let edge = random.pick(&EDGES).copied().unwrap_or_default().to_be_bytes();
                let width = 1 << random.within(0..4);
                edge[8 - width..].iter().zip(&mut bytes[low..]).for_each(|(edge, byte)| *byte = *edge);
            }
            3 => drop(bytes.drain(low..high)),
            4 => bytes.truncate(low),
            5 => {
                let again = bytes[low..high].to_vec();
                let (at, _) = piece(&bytes, random);
                bytes.splice(at..at, again);
            }
            6 => {
                let other = random.pick(of).map_or(&[][..], B::as_ref);
                let (begin, end) = piece(other, random);
                let other = other[begin..end].to_vec();
                bytes.splice(low..high, other);
            }
            _ => {
                let made_up: Vec<_> = (0..random.within(1..9)).map(|_| random.number() as u8).collect();
                bytes.splice(low..low, made_up);
            }
        }
    }
    bytes
}

/// Where a piece of these bytes begins and ends: mostly a short one.
fn piece(bytes: &[u8], random: &mut Random) -> (usize, usize) {
    let len = bytes.len() as u64;
    let begin = random.within(0..len + 1);
    let most = if random.chance(75) { 16 } else { len };
    (begin as usize, (begin + random.within(0..most + 1)).min(len) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_nearly_right_is_mostly_wrong_and_sometimes_shorter_or_longer() {
        let (valid, mut random) = ([b"one valid item".to_vec(), b"and another".to_vec()], Random::new(1));
        let changed: Vec<_> = (0..1_000).map(|_| mutated(&valid, &mut random)).collect();
        assert!(changed.iter().filter(|bytes| valid.contains(bytes)).count() < 100);
        assert!(changed.iter().any(|bytes| bytes.len() < 5) && changed.iter().any(|bytes| bytes.len() > 20));
        assert!(changed.iter().filter(|bytes| bytes.starts_with(b"one")).count() > 100);
        assert_eq!(mutated::<Vec<u8>>(&[], &mut random), b"");
    }
}
