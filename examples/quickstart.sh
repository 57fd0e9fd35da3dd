#!/usr/bin/env bash
# The whole job on loopback, with a throw-away CA (Pebble, Let's Encrypt's own for tests): a
# certificate by real ACME and real HTTP-01, a reload command, a renewal, status.
# Needs Rust, Go and openssl; leaves everything in target/quickstart.
set -euo pipefail
cd "$(dirname "$0")/.."
PEBBLE=v2.10.1
BIN=$PWD/target/peers/bin
DIR=$PWD/target/quickstart
say() { printf '\n\033[1m%s\033[0m\n' "$*"; }

say "Building certs, and the CA"
cargo build --locked --quiet
if [ ! -e "target/peers/$PEBBLE" ]; then
    mkdir -p "$BIN"
    GOBIN=$BIN go install "github.com/letsencrypt/pebble/v2/cmd/pebble@$PEBBLE"
    GOBIN=$BIN go install "github.com/letsencrypt/pebble/v2/cmd/pebble-challtestsrv@$PEBBLE"
    touch "target/peers/$PEBBLE"
fi

rm -rf "$DIR"; mkdir -p "$DIR"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=localhost \
    -config <(printf '[req]\ndistinguished_name=dn\nx509_extensions=v3\n[dn]\n[v3]\n%s\n%s\n' \
        subjectAltName=DNS:localhost basicConstraints=critical,CA:FALSE) \
    -keyout "$DIR/ca-key.pem" -out "$DIR/ca.pem" 2>/dev/null
cat > "$DIR/pebble.json" <<JSON
{"pebble": {"listenAddress": "127.0.0.1:14000", "managementListenAddress": "127.0.0.1:15000",
 "certificate": "$DIR/ca.pem", "privateKey": "$DIR/ca-key.pem", "httpPort": 5002, "tlsPort": 5001,
 "keyAlgorithm": "ecdsa", "profiles": {"default": {"description": "90 days", "validityPeriod": 7776000}}}}
JSON
cat > "$DIR/certs.yaml" <<YAML
state_dir: state
issuers:
  pebble: {directory: "https://localhost:14000/dir", ca_file: $DIR/ca.pem}
solvers:
  web: {type: http-01, listen: ["127.0.0.1:5002"]}
defaults: {issuers: [pebble], solver: web, profile: default}
certificates:
  - name: site
    names: [example.test, www.example.test]
    reload: {shell: "echo \$CERTS_EVENT \$CERTS_NAMES, generation \$CERTS_GENERATION >> $DIR/reloads"}
YAML
"$BIN/pebble-challtestsrv" -defaultIPv6 "" -http01 "" -https01 "" -tlsalpn01 "" -doh "" \
    -dnsserver 127.0.0.1:8053 -management 127.0.0.1:8055 > "$DIR/dns.log" 2>&1 & DNS=$!
PEBBLE_VA_NOSLEEP=1 "$BIN/pebble" -config "$DIR/pebble.json" -dnsserver 127.0.0.1:8053 > "$DIR/pebble.log" 2>&1 & CA=$!
DAEMON=
trap 'kill $DAEMON $CA $DNS 2>/dev/null || true' EXIT
for _ in $(seq 50); do (exec 3<>/dev/tcp/127.0.0.1/14000) 2>/dev/null && break; sleep 0.1; done
certs() { target/debug/certs "$@" --config "$DIR/certs.yaml"; }

say "certs check";          certs check
say "certs run (the daemon, in the background)"
target/debug/certs run --config "$DIR/certs.yaml" 2> "$DIR/certs.log" & DAEMON=$!
for _ in $(seq 100); do certs status 2>/dev/null | grep -q ' ok$' && break; sleep 0.1; done
cat "$DIR/certs.log"
say "certs status";         certs status
say "certs renew site";     certs renew site
say "certs status site";    certs status site
say "What the reload command was told";  cat "$DIR/reloads"
say "The files";            ls -l "$DIR/state/live/" "$DIR/state/live/site/"
kill -TERM "$DAEMON"; wait "$DAEMON"
say "All well. Look around in target/quickstart, or go on with 'Five minutes on a real server' in README.md"
