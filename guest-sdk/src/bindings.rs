//! What `wit-bindgen` makes of `wit/weir.wit`: the types of the ABI, its imports and its export macro.
#![allow(missing_docs, clippy::all, reason = "generated code")]

wit_bindgen::generate!({
    path: "wit",
    world: "plugin",
    pub_export_macro: true,
    export_macro_name: "__export_plugin",
    default_bindings_module: "weir_sdk::bindings",
    runtime_path: "weir_sdk::__wit_bindgen::rt",
    additional_derives: [PartialEq, Eq],
    generate_unused_types: true,
});
