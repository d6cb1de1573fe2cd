//! How commands ask the running node.

use bytes::Bytes;
use serde_json::Value;

use super::failure::Failure;
use crate::admin::{AdminClient, AdminRequest, ClientError};
use crate::folder::{Folder, FolderError};

/// Sends the request to the node of the folder. When nobody answers, says whether there is a node at all.
pub(super) async fn ask_raw(folder: &Folder, request: AdminRequest) -> Result<Bytes, Failure> {
    AdminClient::new(folder.socket()).send(request).await.map_err(|error| explained(folder, error))
}

/// A failure to ask the node of a folder.
pub(super) fn explained(folder: &Folder, error: ClientError) -> Failure {
    match error {
        ClientError::NotRunning(_) if !folder.config().exists() => {
            FolderError::NotInitialised(folder.path().to_owned()).into()
        }
        error => error.into(),
    }
}

/// The same, for answers that are shown.
pub(super) async fn ask(folder: &Folder, request: AdminRequest) -> Result<Value, Failure> {
    let answer = ask_raw(folder, request).await?;
    serde_json::from_slice(&answer).map_err(|error| ClientError::Unexpected(error.to_string()).into())
}

/// One segment of a path: everything but letters, digits and `-._~` is escaped (RFC 3986).
pub(super) fn segment(text: &str) -> String {
    let byte = |b: u8| match b {
        b if b.is_ascii_alphanumeric() || b"-._~".contains(&b) => char::from(b).to_string(),
        b => format!("%{b:02X}"),
    };
    text.bytes().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_leaves_its_segment() {
        assert_eq!(segment("a/../b?c d%ü"), "a%2F..%2Fb%3Fc%20d%25%C3%BC");
    }
}
