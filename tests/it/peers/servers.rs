//! Renewed means served: nginx and HAProxy show the new certificate after the hook ran.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::support::pebble::{Options, Pebble};
use crate::support::site::{Site, text};
use crate::support::{eventually, free_port, live_serial, output_of, served_serial};

const SOON: Duration = Duration::from_secs(60);

/// A server started by hand; ended with this value.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let pid = self.0.id().to_string();
        drop(Command::new("kill").args(["-TERM", &pid]).status());
        drop(self.0.wait());
    }
}

fn spawn(program: &str, arguments: &[&str]) -> Server {
    let child = Command::new(program)
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("{program} ({error}): tests/run installs it"));
    Server(child)
}

/// Renews, and watches the served serial number change from the old to the new one.
fn renewed_is_served(site: &Site, port: u16) {
    let served = || served_serial(port, "site.example.test");
    let old = eventually("the server serves", SOON, served);
    assert_eq!(Some(&old), live_serial(site.state(), "site").as_ref());
    let output = site.run(&["renew", "site"]);
    assert!(output.status.success(), "{}", text(&output));
    let new = live_serial(site.state(), "site").unwrap();
    assert_ne!(old, new);
    eventually("the new certificate is served", SOON, || (served()? == new).then_some(()));
}

#[test]
#[ignore = "needs pebble and nginx: tests/run"]
fn nginx_serves_the_renewed_certificate() {
    let pebble = Pebble::start(Options::default());
    let site = Site::empty();
    let (port, root) = (free_port(), site.path("nginx"));
    fs::create_dir(&root).unwrap();
    let root = root.display();
    let live = site.state().join("live/site");
    let live = live.display();
    fs::write(
        site.path("nginx/nginx.conf"),
        format!(
            "daemon off;\nmaster_process on;\npid {root}/pid;\nerror_log {root}/error.log;\n\
             events {{}}\nhttp {{\n access_log off;\n server {{\n  listen 127.0.0.1:{port} ssl;\n  \
             ssl_certificate {live}/fullchain.pem;\n  ssl_certificate_key {live}/privkey.pem;\n }}\n}}\n"
        ),
    )
    .unwrap();
    let guard = format!("[ ! -e {root}/pid ] || nginx -c {root}/nginx.conf -s reload");
    let list =
        format!("- {{name: site, names: [site.example.test], reload: {{shell: \"{guard}\"}}}}\n");
    site.configure_text(&format!("{}{list}", site.preamble(&pebble, "")));
    site.once();
    let _nginx = spawn("nginx", &["-c", &format!("{root}/nginx.conf")]);
    renewed_is_served(&site, port);
}

#[test]
#[ignore = "needs pebble and haproxy: tests/run"]
fn haproxy_serves_the_renewed_certificate_from_the_combined_file() {
    let pebble = Pebble::start(Options::default());
    let site = Site::empty();
    let (port, control) = (free_port(), free_port());
    let copy = site.path("site.pem");
    let config = site.path("haproxy.cfg");
    fs::write(
        &config,
        format!(
            "global\n  log stderr local0\ndefaults\n  mode http\n  timeout connect 5s\n  timeout \
             client 5s\n  timeout server 5s\nfrontend tls\n  bind 127.0.0.1:{port} ssl crt {}\n  \
             http-request return status 204\n",
            copy.display()
        ),
    )
    .unwrap();
    // The master's own socket: what `systemctl reload haproxy` does is SIGUSR2 to the master.
    let reload = format!(
        "python3 -c 'import socket; s = socket.create_connection((\\\"127.0.0.1\\\", {control})); \
         s.sendall(b\\\"reload\\\\n\\\"); s.recv(99)' || [ ! -e {} ]",
        site.path("started").display()
    );
    let list = format!(
        "- name: site\n  names: [site.example.test]\n  outputs: [{{path: {}, format: combined}}]\n  \
         reload: {{shell: \"{reload}\"}}\n",
        copy.display()
    );
    site.configure_text(&format!("{}{list}", site.preamble(&pebble, "")));
    site.once();
    fs::write(site.path("started"), "").unwrap();
    let master = format!("127.0.0.1:{control}");
    let _haproxy = spawn("haproxy", &["-W", "-S", &master, "-f", config.to_str().unwrap()]);
    renewed_is_served(&site, port);
}

#[test]
#[ignore = "needs pebble and python3: tests/run"]
fn python_loads_the_files() {
    let pebble = Pebble::start(Options::default());
    let site = Site::new(
        &pebble,
        "- {name: site, names: [site.example.test]}\n- {name: rsa, names: [rsa.example.test], key: rsa-2048}\n",
    );
    site.once();
    let program = "import ssl, sys\n\
        for live in sys.argv[1:]:\n    \
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(live + '/fullchain.pem', live + '/privkey.pem')\n    \
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(live + '/combined.pem')\n";
    let live = |name: &str| site.state().join("live").join(name).to_str().unwrap().to_owned();
    output_of("python3", &["-c", program, &live("site"), &live("rsa")]);
}
