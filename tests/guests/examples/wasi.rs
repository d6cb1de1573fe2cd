//! Imports WASI by hand, each part by a command of its own, as a program built for wasm32-wasip2 would.

use serde_json::{Value, json};
use weir_sdk::prelude::*;

wit_bindgen::generate!({
    inline: r#"
        package weir-test:wasi;

        world needs {
            import wasi:cli/environment@0.2.0;
            import wasi:cli/stdout@0.2.0;
            import wasi:cli/stderr@0.2.0;
            import wasi:clocks/monotonic-clock@0.2.0;
            import wasi:clocks/wall-clock@0.2.0;
            import wasi:filesystem/preopens@0.2.0;
            import wasi:random/random@0.2.0;
            import wasi:sockets/tcp-create-socket@0.2.0;
        }

        package wasi:io@0.2.0 {
            interface error {
                resource error;
            }
            interface poll {
                resource pollable {
                    ready: func() -> bool;
                    block: func();
                }
            }
            interface streams {
                use error.{error};
                variant stream-error {
                    last-operation-failed(error),
                    closed,
                }
                resource output-stream {
                    blocking-write-and-flush: func(contents: list<u8>) -> result<_, stream-error>;
                }
            }
        }

        package wasi:cli@0.2.0 {
            interface environment {
                get-environment: func() -> list<tuple<string, string>>;
                get-arguments: func() -> list<string>;
            }
            interface stdout {
                use wasi:io/streams@0.2.0.{output-stream};
                get-stdout: func() -> output-stream;
            }
            interface stderr {
                use wasi:io/streams@0.2.0.{output-stream};
                get-stderr: func() -> output-stream;
            }
        }

        package wasi:clocks@0.2.0 {
            interface monotonic-clock {
                use wasi:io/poll@0.2.0.{pollable};
                now: func() -> u64;
                subscribe-duration: func(when: u64) -> pollable;
            }
            interface wall-clock {
                record datetime {
                    seconds: u64,
                    nanoseconds: u32,
                }
                now: func() -> datetime;
            }
        }

        package wasi:filesystem@0.2.0 {
            interface types {
                resource descriptor;
            }
            interface preopens {
                use types.{descriptor};
                get-directories: func() -> list<tuple<descriptor, string>>;
            }
        }

        package wasi:random@0.2.0 {
            interface random {
                get-random-bytes: func(len: u64) -> list<u8>;
                get-random-u64: func() -> u64;
            }
        }

        package wasi:sockets@0.2.0 {
            interface network {
                enum error-code {
                    unknown, access-denied, not-supported, invalid-argument, out-of-memory, timeout,
                    concurrency-conflict, not-in-progress, would-block, invalid-state, new-socket-limit,
                    address-not-bindable, address-in-use, remote-unreachable, connection-refused, connection-reset,
                    connection-aborted, datagram-too-large, name-unresolvable, temporary-resolver-failure,
                    permanent-resolver-failure,
                }
                enum ip-address-family { ipv4, ipv6 }
            }
            interface tcp {
                resource tcp-socket;
            }
            interface tcp-create-socket {
                use network.{error-code, ip-address-family};
                use tcp.{tcp-socket};
                create-tcp-socket: func(address-family: ip-address-family) -> result<tcp-socket, error-code>;
            }
        }
    "#,
    generate_all,
});

use self::wasi::cli::{environment, stderr, stdout};
use self::wasi::clocks::{monotonic_clock, wall_clock};
use self::wasi::filesystem::preopens;
use self::wasi::random::random;
use self::wasi::sockets::network::IpAddressFamily;
use self::wasi::sockets::tcp_create_socket::create_tcp_socket;

struct Wasi;

fn print(text: &str) {
    let out = stdout::get_stdout();
    out.blocking_write_and_flush(text.as_bytes()).expect("stdout takes it");
}

impl Plugin for Wasi {
    fn manifest() -> Manifest {
        // Programs do such things before anything else, even to say who they are.
        print(&format!("who am I? {}\n", random::get_random_u64()));
        Manifest::new("wasi", "0.1.0").description(format!("described at {}", wall_clock::now().seconds))
    }

    fn start(_: Init, _: &Context) -> Result<Self> {
        print("starting\n");
        Ok(Self)
    }

    fn on_command(&mut self, command: Command<'_>, ctx: &Context) -> Result {
        let answer: Value = match command.name.as_str() {
            "print" => {
                print("hello ");
                print("from a plugin\nand a line that goes on");
                stderr::get_stderr().blocking_write_and_flush(b"trouble\n").expect("stderr takes it");
                json!({})
            }
            "print-much" => {
                (0..1_000).for_each(|n| print(&format!("line {n}\n")));
                json!({})
            }
            "environment" => json!({
                "variables": environment::get_environment(),
                "arguments": environment::get_arguments(),
                "folders": preopens::get_directories().len(),
                "socket": create_tcp_socket(IpAddressFamily::Ipv4).err().map(|code| format!("{code:?}")),
            }),
            "clocks" => {
                let (date, before) = (wall_clock::now(), monotonic_clock::now());
                let ready = monotonic_clock::subscribe_duration(0).ready();
                json!({"seconds": date.seconds, "monotonic": before, "ready": ready})
            }
            "random" => json!({"bytes": random::get_random_bytes(8), "number": random::get_random_u64()}),
            "random-much" => json!(random::get_random_bytes(1 << 30).len()),
            "sleep" => {
                monotonic_clock::subscribe_duration(3_600_000_000_000).block();
                json!({})
            }
            _ => return Err(command.unknown(&["print", "print-much", "environment", "clocks", "random", "sleep"])),
        };
        command.answer(ctx, &answer)
    }
}

weir_sdk::export!(Wasi);
