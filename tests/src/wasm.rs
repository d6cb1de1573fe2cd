//! Makes a WebAssembly file larger, for tests.

/// A core module with more functions, which nobody calls: about `bytes` of them, each a thousand instructions long.
///
/// # Panics
/// When the file is no core module that has functions.
pub fn inflated(module: &[u8], bytes: usize) -> Vec<u8> {
    assert_eq!(&module[..8], b"\0asm\x01\0\0\0", "it is no core module");
    let body = body();
    let count = bytes / body.len();
    let mut out = module[..8].to_vec();
    let mut at = 8;
    let mut of_type = 0;
    while at < module.len() {
        let id = module[at];
        let (len, start) = number(module, at + 1);
        let content = &module[start..start + len as usize];
        at = start + len as usize;
        let content = match id {
            // Types: one more, `() -> ()`.
            1 => {
                of_type = number(content, 0).0;
                longer(content, 1, &[0x60, 0, 0])
            }
            // Functions: all of that type.
            3 => longer(content, count, &leb(of_type).repeat(count)),
            // Code.
            10 => longer(content, count, &body.repeat(count)),
            _ => content.to_vec(),
        };
        out.push(id);
        out.extend(leb(content.len() as u64));
        out.extend(content);
    }
    out
}

/// A list with more entries.
fn longer(list: &[u8], more: usize, entries: &[u8]) -> Vec<u8> {
    let (count, start) = number(list, 0);
    [&leb(count + more as u64), &list[start..], entries].concat()
}

/// A function that calculates with two locals, from memory and back, so that nothing of it can be left out.
fn body() -> Vec<u8> {
    // local 0 := (local 0 * 31 + local 1) ^ 7; local 1 := local 0 - local 1
    let step = [0x20, 0, 0x42, 31, 0x7e, 0x20, 1, 0x7c, 0x42, 7, 0x85, 0x21, 0, 0x20, 0, 0x20, 1, 0x7d, 0x21, 1];
    let load = [0x41, 8, 0x29, 3, 0, 0x21, 0];
    let store = [0x41, 8, 0x20, 0, 0x37, 3, 0];
    let inner = [[1, 2, 0x7e].as_slice(), &load, &step.repeat(80), &store, &[0x0b]].concat();
    [leb(inner.len() as u64), inner].concat()
}

fn leb(mut n: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = (n & 0x7f) as u8;
        n >>= 7;
        bytes.push(if n == 0 { low } else { low | 0x80 });
        if n == 0 {
            return bytes;
        }
    }
}

/// The number at a place, and the place after it.
fn number(bytes: &[u8], mut at: usize) -> (u64, usize) {
    let (mut n, mut shift) = (0, 0);
    loop {
        let byte = bytes[at];
        n |= u64::from(byte & 0x7f) << shift;
        (at, shift) = (at + 1, shift + 7);
        if byte & 0x80 == 0 {
            return (n, at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_they_are_written() {
        for n in [0, 1, 127, 128, 300, 1 << 40] {
            assert_eq!(number(&leb(n), 0), (n, leb(n).len()));
        }
    }
}
