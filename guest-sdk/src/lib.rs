//! Write a Weir protocol in fifteen lines.
