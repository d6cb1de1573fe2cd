//! Imports WASI by hand, each part by a command of its own, as a program built for wasm32-wasip2 would.

use serde_json::{Value, json};
use weir_sdk::prelude::*;

/// What is generated. In a module of its own, because it is no interface of this crate that would have to be documented.
mod bindings {
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
                import wasi:sockets/instance-network@0.2.0;
                import wasi:sockets/tcp-create-socket@0.2.0;
                import wasi:sockets/udp-create-socket@0.2.0;
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
                    resource network;
                    enum error-code {
                        unknown, access-denied, not-supported, invalid-argument, out-of-memory, timeout,
                        concurrency-conflict, not-in-progress, would-block, invalid-state, new-socket-limit,
                        address-not-bindable, address-in-use, remote-unreachable, connection-refused, connection-reset,
                        connection-aborted, datagram-too-large, name-unresolvable, temporary-resolver-failure,
                        permanent-resolver-failure,
                    }
                    enum ip-address-family { ipv4, ipv6 }
                    type ipv4-address = tuple<u8, u8, u8, u8>;
                    type ipv6-address = tuple<u16, u16, u16, u16, u16, u16, u16, u16>;
                    record ipv4-socket-address { port: u16, address: ipv4-address }
                    record ipv6-socket-address { port: u16, flow-info: u32, address: ipv6-address, scope-id: u32 }
                    variant ip-socket-address { ipv4(ipv4-socket-address), ipv6(ipv6-socket-address) }
                }
                interface instance-network {
                    use network.{network};
                    instance-network: func() -> network;
                }
                interface tcp {
                    use network.{network, error-code, ip-socket-address};
                    resource tcp-socket {
                        start-bind: func(network: borrow<network>, local-address: ip-socket-address)
                            -> result<_, error-code>;
                        start-connect: func(network: borrow<network>, remote-address: ip-socket-address)
                            -> result<_, error-code>;
                    }
                }
                interface udp {
                    resource udp-socket;
                }
                interface udp-create-socket {
                    use network.{error-code, ip-address-family};
                    use udp.{udp-socket};
                    create-udp-socket: func(address-family: ip-address-family) -> result<udp-socket, error-code>;
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
}

use self::bindings::wasi::cli::{environment, stderr, stdout};
use self::bindings::wasi::clocks::{monotonic_clock, wall_clock};
use self::bindings::wasi::filesystem::preopens;
use self::bindings::wasi::random::random;
use self::bindings::wasi::sockets::instance_network::instance_network;
use self::bindings::wasi::sockets::network::{IpAddressFamily, IpSocketAddress, Ipv4SocketAddress};
use self::bindings::wasi::sockets::tcp_create_socket::create_tcp_socket;
use self::bindings::wasi::sockets::udp_create_socket::create_udp_socket;

struct Wasi;

fn print(text: &str) {
    let out = stdout::get_stdout();
    out.blocking_write_and_flush(text.as_bytes()).expect("stdout takes it");
}

/// How far a program gets with a socket: `connected`, or where it was refused and how.
fn tcp(address_family: IpAddressFamily) -> String {
    let socket = match create_tcp_socket(address_family) {
        Ok(socket) => socket,
        Err(code) => return format!("made: {code:?}"),
    };
    let network = instance_network();
    let local = |port| IpSocketAddress::Ipv4(Ipv4SocketAddress { port, address: (127, 0, 0, 1) });
    match (socket.start_bind(&network, local(0)), socket.start_connect(&network, local(1))) {
        (Err(bound), Err(connected)) => format!("bound: {bound:?}, connected: {connected:?}"),
        _ => "connected".to_owned(),
    }
}

fn udp(address_family: IpAddressFamily) -> String {
    create_udp_socket(address_family).err().map_or("connected".to_owned(), |code| format!("made: {code:?}"))
}

fn sockets() -> [[String; 2]; 2] {
    [IpAddressFamily::Ipv4, IpAddressFamily::Ipv6].map(|family| [tcp(family), udp(family)])
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
                "sockets": sockets(),
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
