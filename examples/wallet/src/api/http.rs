//! Just enough HTTP/1.1 to talk to a node's admin socket: one request, one answer, one connection.

use std::str;

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body, whole.
    pub body: Vec<u8>,
}

/// Why what came back is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NoAnswer(String);

fn no(what: impl Into<String>) -> NoAnswer {
    NoAnswer(what.into())
}

/// A request with a JSON body, after which the server closes the connection.
pub fn request(method: &str, path: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: weir\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// Reads everything the server sent until it closed the connection.
pub fn answer(bytes: &[u8]) -> Result<Answer, NoAnswer> {
    let end = find(bytes, b"\r\n\r\n").ok_or_else(|| no("the answer has no end of its head"))?;
    let head = str::from_utf8(&bytes[..end]).map_err(|_| no("the head of the answer is not text"))?;
    let body = &bytes[end + 4..];
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap_or_default();
    let Some(code) = status.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1)) else {
        return Err(no(format!("the answer begins with `{status}`, which is not HTTP/1")));
    };
    let status = code.parse().map_err(|_| no(format!("`{code}` is no status code")))?;
    let fields: Vec<_> = lines.filter_map(|line| line.split_once(':')).collect();
    let field =
        |name: &str| fields.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim());
    let body = if field("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
        dechunk(body)?
    } else if let Some(length) = field("content-length") {
        let length: usize = length.parse().map_err(|_| no("the content length is no number"))?;
        let whole = body.get(..length);
        whole.ok_or_else(|| no(format!("the answer ended after {} of {length} bytes", body.len())))?.to_vec()
    } else {
        body.to_vec()
    };
    Ok(Answer { status, body })
}

fn dechunk(mut rest: &[u8]) -> Result<Vec<u8>, NoAnswer> {
    let mut body = Vec::new();
    loop {
        let end = find(rest, b"\r\n").ok_or_else(|| no("a chunk has no size line"))?;
        let line = str::from_utf8(&rest[..end]).map_err(|_| no("the size of a chunk is not text"))?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size, 16).map_err(|_| no(format!("`{size}` is no chunk size")))?;
        rest = &rest[end + 2..];
        if size == 0 {
            return Ok(body);
        }
        let after = size.checked_add(2).ok_or_else(|| no(format!("a chunk of {size} bytes is too large")))?;
        body.extend_from_slice(rest.get(..size).ok_or_else(|| no("the answer ended inside a chunk"))?);
        rest = rest.get(after..).ok_or_else(|| no("the answer ended after a chunk"))?;
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Answer, NoAnswer> {
        answer(text.as_bytes())
    }

    #[test]
    fn a_body_of_known_length_is_read() {
        let read = read("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").expect("it is complete");
        assert_eq!(read, Answer { status: 200, body: b"{}".to_vec() });
    }

    #[test]
    fn chunks_are_put_together() {
        let text =
            "HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n";
        let read = read(text).expect("it is complete");
        assert_eq!(read, Answer { status: 404, body: b"abc0123456789".to_vec() });
    }

    #[test]
    fn what_was_cut_off_is_an_error() {
        for text in [
            "",
            "HTTP/1.1 200 OK\r\n",
            "SSH-2.0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nab",
        ] {
            assert!(read(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_request_says_its_length() {
        let text = String::from_utf8(request("POST", "/x", b"{}")).expect("it is text");
        assert!(text.starts_with("POST /x HTTP/1.1\r\n") && text.ends_with("Content-Length: 2\r\n\r\n{}"), "{text}");
    }
}
