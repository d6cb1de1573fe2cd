//! What a component may be like before a compiler sees it: limits on everything that makes compiling slow or large.
//!
//! A whole Python interpreter has about 20,000 functions, the largest of them 300 KiB with some hundred locals. What a
//! person writes is far below every limit here; what is above was made to be expensive.

use wasmparser::{BinaryReaderError, FunctionBody, Operator, Parser, Payload};

use super::super::PluginError;

/// Functions of all modules together. Each costs the compiler a context, whatever it does.
const FUNCTIONS: u64 = 200_000;
/// Bytes of one function. Some passes of a compiler take more than linear time.
const BODY: u64 = 2 << 20;
/// Locals of one function, beside its parameters. They are declared in five bytes and cost memory for each of them.
const LOCALS: u64 = 10_000;
/// Locals of all functions together.
const ALL_LOCALS: u64 = 4_000_000;
/// Blocks within blocks. A large `switch` has one for each case.
const NESTING: u64 = 20_000;
/// Modules and components within the component, and how deep.
const PARTS: u64 = 256;
const DEPTH: u64 = 16;

/// One count and its limit.
struct Limit {
    what: &'static str,
    most: u64,
}

impl Limit {
    const fn new(what: &'static str, most: u64) -> Self {
        Self { what, most }
    }

    fn check(&self, file: &str, found: u64) -> Result<(), PluginError> {
        let Self { what, most } = *self;
        if found <= most {
            return Ok(());
        }
        Err(PluginError::TooComplex { file: file.to_owned(), what, found, limit: most })
    }
}

/// What was counted so far.
#[derive(Default)]
struct Counts {
    functions: u64,
    locals: u64,
    parts: u64,
    depth: u64,
}

/// Refuses a component that would cost a compiler too much.
pub(super) fn check(file: &str, component: &[u8]) -> Result<(), PluginError> {
    let malformed =
        |error: BinaryReaderError| PluginError::Malformed { file: file.to_owned(), reason: error.to_string() };
    let mut counts = Counts::default();
    for payload in Parser::new(0).parse_all(component) {
        match payload.map_err(malformed)? {
            Payload::Version { .. } => {
                counts.parts += 1;
                counts.depth += 1;
                Limit::new("modules and components in it", PARTS).check(file, counts.parts)?;
                Limit::new("components within components", DEPTH).check(file, counts.depth)?;
            }
            Payload::End(_) => counts.depth = counts.depth.saturating_sub(1),
            Payload::CodeSectionStart { count, .. } => {
                counts.functions += u64::from(count);
                Limit::new("functions", FUNCTIONS).check(file, counts.functions)?;
            }
            Payload::CodeSectionEntry(body) => function(file, &body, &mut counts, malformed)?,
            _ => {}
        }
    }
    Ok(())
}

fn function(
    file: &str,
    body: &FunctionBody<'_>,
    counts: &mut Counts,
    malformed: impl Fn(BinaryReaderError) -> PluginError + Copy,
) -> Result<(), PluginError> {
    let range = body.range();
    Limit::new("bytes in one function", BODY).check(file, range.end.saturating_sub(range.start) as u64)?;
    let mut locals = 0_u64;
    for group in body.get_locals_reader().map_err(malformed)? {
        locals = locals.saturating_add(group.map_err(malformed)?.0.into());
    }
    counts.locals = counts.locals.saturating_add(locals);
    Limit::new("locals in one function", LOCALS).check(file, locals)?;
    Limit::new("locals in all functions", ALL_LOCALS).check(file, counts.locals)?;
    let mut nesting = 0_u64;
    for operator in body.get_operators_reader().map_err(malformed)? {
        match operator.map_err(malformed)? {
            Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. } | Operator::TryTable { .. } => {
                nesting += 1;
                Limit::new("blocks within blocks", NESTING).check(file, nesting)?;
            }
            Operator::End => nesting = nesting.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A number as WebAssembly writes it.
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

    fn section(id: u8, content: &[u8]) -> Vec<u8> {
        [vec![id], leb(content.len() as u64), content.to_vec()].concat()
    }

    fn list(items: &[Vec<u8>]) -> Vec<u8> {
        [leb(items.len() as u64), items.concat()].concat()
    }

    /// A module of functions `() -> ()` with these bodies, each its locals and its instructions.
    fn module(bodies: &[(u64, Vec<u8>)]) -> Vec<u8> {
        let types = section(1, &list(&[vec![0x60, 0, 0]]));
        let functions = section(3, &list(&vec![vec![0]; bodies.len()]));
        let body = |(locals, code): &(u64, Vec<u8>)| {
            let inner = [vec![1], leb(*locals), vec![0x7f], code.clone(), vec![0x0b]].concat();
            [leb(inner.len() as u64), inner].concat()
        };
        let code = section(10, &list(&bodies.iter().map(body).collect::<Vec<_>>()));
        [b"\0asm\x01\0\0\0".to_vec(), types, functions, code].concat()
    }

    fn refused(module: &[u8]) -> String {
        let error = check("x.wasm", module).expect_err("refused");
        assert_eq!(error.code(), "too-complex");
        error.to_string()
    }

    fn nested(depth: usize) -> Vec<u8> {
        [[0x02, 0x40].repeat(depth), vec![0x0b; depth]].concat()
    }

    #[test]
    fn what_a_person_writes_is_not_refused() {
        assert!(check("x.wasm", &module(&[(3, vec![0x01]), (LOCALS, nested(1_000))])).is_ok());
    }

    #[test]
    fn what_is_above_a_limit_is_named() {
        let text = refused(&module(&[(LOCALS + 1, vec![])]));
        assert!(text.contains("x.wasm has 10001 locals in one function; a plugin may have 10000"), "{text}");
        assert!(refused(&module(&vec![(LOCALS, vec![]); 401])).contains("locals in all functions"));
        assert!(refused(&module(&[(0, nested(NESTING as usize + 1))])).contains("blocks within blocks"));
        assert!(refused(&module(&[(0, vec![0x01; BODY as usize])])).contains("bytes in one function"));
        assert!(refused(&module(&vec![(0, vec![]); FUNCTIONS as usize + 1])).contains("functions"));
        assert!(
            check("x.wasm", &module(&[(0, nested(NESTING as usize))])).is_ok(),
            "one after the other is not nested"
        );
    }

    #[test]
    fn parts_within_parts_are_counted() {
        let component = |inner: Vec<u8>| [b"\0asm\x0d\0\x01\0".to_vec(), inner].concat();
        let mut deep = component(Vec::new());
        for _ in 0..DEPTH {
            deep = component(section(4, &deep));
        }
        assert!(refused(&deep).contains("components within components"));
        let wide = component(section(1, b"\0asm\x01\0\0\0").repeat(PARTS as usize));
        assert!(refused(&wide).contains("modules and components in it"));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(tail in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            for head in [b"\0asm\x0d\0\x01\0", b"\0asm\x01\0\0\0"] {
                let _ = check("x", &[head.as_slice(), &tail].concat());
            }
        }
    }
}
