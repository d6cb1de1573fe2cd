#!/usr/bin/env bash
# Real nodes on hosts of their own: two, then three network namespaces on a bridge, with loss, cuts in both directions
# and in one, and a crash. Needs root, `ip`, and netem or nftables; called by `cargo xtask netns`, which builds what it
# needs and names it in WEIR_BIN and WEIR_TEST_GUESTS.
set -euo pipefail

skip() { echo "skipped: $*"; exit 0; }
[ "$(uname -s)" = Linux ] || skip "network namespaces exist on Linux only"
[ "$(id -u)" = 0 ] || skip "network namespaces need root; run \`sudo -E cargo xtask netns\`"
command -v ip >/dev/null || skip "there is no \`ip\`; install iproute2"
: "${WEIR_BIN:?run this with cargo xtask netns}" "${WEIR_TEST_GUESTS:?run this with cargo xtask netns}"

# Names of this run only, so that nothing of anybody else is touched.
RUN="w$$"
DIR="$(mktemp -d)"
HUB="$RUN-hub"
HOSTS=()
declare -A PID ID
ip netns add "$HUB" 2>/dev/null || skip "this machine does not let us make network namespaces"

cleanup() {
    local status=$? host
    for host in "${!PID[@]}"; do kill -9 "${PID[$host]}" 2>/dev/null || true; done
    wait 2>/dev/null || true
    for host in "${HOSTS[@]}"; do ip netns del "$RUN-$host" 2>/dev/null || true; done
    ip netns del "$HUB" 2>/dev/null || true
    if [ "$status" = 0 ]; then rm -rf "$DIR"; else echo "failed; logs and folders are in $DIR" >&2; fi
}
trap cleanup EXIT

in_host() { local host=$1; shift; ip netns exec "$RUN-$host" "$@"; }
weir() { local host=$1; shift; in_host "$host" "$WEIR_BIN" --dir "$DIR/$host" "$@"; }
now_ms() { date +%s%3N; }
fail() { echo "FAILED: $*" >&2; exit 1; }

# What makes packets disappear: netem on the way out of the hub, or nftables on the way into a host.
HOW=
choose() {
    if in_host a tc qdisc add dev eth0 root netem loss 1% 2>/dev/null; then
        in_host a tc qdisc del dev eth0 root
        HOW=netem
    elif in_host a nft add table inet probe 2>/dev/null; then
        in_host a nft delete table inet probe
        HOW=nftables
    else
        skip "the kernel has neither netem nor nftables, or \`tc\` and \`nft\` are not installed"
    fi
    echo "    packets are lost by $HOW"
}

# lose HOST PERCENT [ADDRESS]: of the UDP packets on their way into the host, all or those of one sender.
lose() {
    local host=$1 percent=$2 from=${3:-}
    heal "$host"
    if [ "$HOW" = netem ] && [ -z "$from" ]; then
        ip netns exec "$HUB" tc qdisc add dev "to-$host" root netem loss "$percent%" delay 5ms 2ms
    else
        # One sender only, or no netem. A random number below 100 is never 100.
        local chance="numgen random mod 100 < $percent"
        if [ "$percent" = 100 ]; then chance=; fi
        in_host "$host" nft -f - <<RULES
table inet weir { chain in { type filter hook input priority 0;
    meta l4proto udp ${from:+ip saddr $from} $chance drop;
}; }
RULES
    fi
}

heal() {
    ip netns exec "$HUB" tc qdisc del dev "to-$1" root 2>/dev/null || true
    in_host "$1" nft delete table inet weir 2>/dev/null || true
}

# add_host NAME ADDRESS: a namespace with one interface on the bridge, and a node in it.
add_host() {
    local host=$1 address=$2
    ip netns add "$RUN-$host"
    HOSTS+=("$host")
    ip -n "$HUB" link add "to-$host" type veth peer name eth0 netns "$RUN-$host"
    ip -n "$HUB" link set "to-$host" master bridge up
    ip -n "$RUN-$host" addr add "$address/24" dev eth0
    ip -n "$RUN-$host" link set eth0 up
    ip -n "$RUN-$host" link set lo up
    weir "$host" init --listen "$address:4433" >/dev/null
    # Short, so that a dead path is noticed within seconds.
    sed -i 's/^#idle = .*/idle = "4s"/; s/^#keep_alive = .*/keep_alive = "1s"/' "$DIR/$host/weir.toml"
    run_node "$host"
}

run_node() {
    local host=$1
    : >"$DIR/$host.ready"
    ip netns exec "$RUN-$host" "$WEIR_BIN" --dir "$DIR/$host" run >"$DIR/$host.ready" 2>>"$DIR/$host.log" &
    PID[$host]=$!
    await 20 "node $host is ready" grep -q '^ready ' "$DIR/$host.ready"
    ID[$host]=$(sed -n 's/^ready \([0-9a-z]*\)@.*/\1/p' "$DIR/$host.ready")
}

# await SECONDS WHAT COMMAND...: until the command succeeds; says how long it took.
await() {
    local limit=$1 what=$2 began; shift 2
    began=$(now_ms)
    until "$@" >/dev/null 2>&1; do
        [ $(($(now_ms) - began)) -lt $((limit * 1000)) ] || fail "after $limit s still not: $what"
        sleep 0.05
    done
    echo "    $what ($(($(now_ms) - began)) ms)"
}

# Whether HOST has an admitted connection to OTHER.
connected() { peer_field "$1" "$2" | grep -q '"connected":true'; }
apart() { ! connected "$1" "$2"; }
speaks() { peer_field "$1" "$2" | grep -q '/ping/1.0.0'; }
# The JSON of one peer, on one line, without what is nested in it.
peer_field() { weir "$1" peers --json | tr -d ' \n' | sed 's/"known_addresses":\[[^]]*\],//g' | grep -o "{[^{}]*\"peer_id\":\"${ID[$2]}\"[^{}]*}"; }
meet() { weir "$1" peers add "${ID[$2]}@$3:4433" --necessary >/dev/null; }
answers() { weir "$1" call ping ping "{\"peer\":\"${ID[$2]}\",\"count\":20}" --json | tr -d ' \n' | grep -q '"answered":20'; }

# flood FROM TO COUNT: all of them must come, once and in order.
flood() {
    local from=$1 to=$2 count=$3 stats began
    weir "$to" call ping reset --json >/dev/null
    began=$(now_ms)
    weir "$from" call ping flood "{\"peer\":\"${ID[$to]}\",\"count\":$count,\"size\":256}" --json >/dev/null
    await 60 "$count messages from $from to $to are counted" received "$to" "$count"
    stats=$(weir "$to" call ping stats --json | tr -d ' \n')
    for never in lost reordered duplicated missed; do
        grep -q "\"$never\":0" <<<"$stats" || fail "$never messages: $stats"
    done
    echo "    none lost, reordered or twice, after $(($(now_ms) - began)) ms"
}
received() { weir "$1" call ping stats --json | tr -d ' \n' | grep -q "\"messages\":$2[,}]"; }

echo "==> two hosts"
ip -n "$HUB" link add bridge type bridge
ip -n "$HUB" link set bridge up
add_host a 10.77.0.1
add_host b 10.77.0.2
choose
for host in a b; do weir "$host" plugin load --save "$WEIR_TEST_GUESTS/ping-0.1.wasm" >/dev/null; done
meet a b 10.77.0.2
await 10 "a and b speak ping" speaks a b
await 10 "b and a speak ping" speaks b a

echo "==> 10 % of the packets are lost in both directions"
lose a 10; lose b 10
flood a b 20000
heal a; heal b

echo "==> the path is cut in both directions"
lose a 100; lose b 100
# The idle timeout is 4 s; a keep-alive may have reset it just before the cut.
await 7 "a notices" apart a b
await 7 "b notices" apart b a
heal a; heal b
await 20 "they are connected again" connected a b
await 10 "ping is answered" answers a b

echo "==> the path is cut in one direction: a hears b, b does not hear a"
lose b 100
# b by its idle timeout, a because its question was not answered: what it hears keeps QUIC's own timer from running out.
await 7 "b notices" apart b a
await 3 "a notices" apart a b
heal b
await 20 "they are connected again" connected a b
await 10 "ping is answered" answers a b

echo "==> b crashes and comes back while a still holds its old connection"
kill -9 "${PID[b]}"; wait "${PID[b]}" 2>/dev/null || true
run_node b
meet b a 10.77.0.1
await 1 "b is admitted, within a second," connected b a
await 10 "ping is answered" answers a b

echo "==> three hosts, and a cut between two of them"
add_host c 10.77.0.3
weir c plugin load --save "$WEIR_TEST_GUESTS/ping-0.1.wasm" >/dev/null
meet c a 10.77.0.1
meet c b 10.77.0.2
await 10 "c and a speak ping" speaks c a
await 10 "c and b speak ping" speaks c b
if in_host a nft list tables >/dev/null 2>&1; then
    lose a 100 10.77.0.2; lose b 100 10.77.0.1
    await 7 "a notices that b is gone" apart a b
    connected c a || fail "c lost a, which was not cut off"
    answers c a || fail "c cannot ping a"
    answers c b || fail "c cannot ping b"
    flood c a 5000
    heal a; heal b
    await 20 "a and b are connected again" connected a b
else
    echo "    skipped: a cut between two of three needs \`nft\`"
fi

echo "==> all nodes end"
for host in a b c; do
    kill -TERM "${PID[$host]}"
    wait "${PID[$host]}" || fail "node $host ended with $?"
    unset "PID[$host]"
done
echo "all good"
