//! Built for a version of the ABI that is not there yet.

#![expect(missing_docs, reason = "it is generated")]

use self::exports::weir::plugin::handler::Guest;

wit_bindgen::generate!({
    inline: "
        package weir:plugin@0.9.0;

        interface handler {
            describe: func() -> string;
        }

        world plugin {
            export handler;
        }
    ",
});

struct Plugin;

impl Guest for Plugin {
    fn describe() -> String {
        "a plugin of tomorrow".to_owned()
    }
}

export!(Plugin);
