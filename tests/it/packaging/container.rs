//! Runs the container file step by step like a builder, using this machine as the first stage, and starts the result
//! like a runtime: with any user, a read-only root and a volume.

mod image;

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;
use tokio::net::UdpSocket;

use self::image::Image;
use super::run;
use crate::support::process::Process;
use crate::support::redis::Redis;
use crate::support::{certificates, free_port, tls, wait_for};
use strict_receiver::Receiver;

/// Neither root nor the image's user: a uid that a platform might assign.
const USER: u32 = 1_234_567;

/// A container: the image's root in its own namespace, with its volume.
struct Container {
    port: u16,
    folder: TempDir,
    process: Process,
}

impl Container {
    /// Starts the image's command; `prepare` mounts things over the root before it becomes read-only.
    async fn start(
        image: &Image,
        environment: &[(&str, &str)],
        prepare: impl FnOnce(&Path),
    ) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let (root, port) = (folder.path().join("root"), free_port());
        run(Command::new("cp").arg("-a").arg(&image.root).arg(&root));
        prepare(&root);
        let script = "set -e; root=$1; user=$2; shift 2
            mkdir -p $root/proc $root/../volume; chown $user:$user $root/../volume
            mount --bind $root $root
            mount --bind $root/../volume $root/var/lib/celeriac
            mount --bind /proc $root/proc
            mount -o remount,bind,ro $root
            exec chroot --userspec=$user:$user --groups= $root \"$@\"";
        let mut command = as_root("unshare");
        command.args(["--mount", "sh", "-c", script, "sh"]);
        command.arg(&root).arg(USER.to_string()).args(image.start());
        command.env_clear().envs(image.environment.clone());
        command.envs(environment.iter().copied());
        // The image listens on every address, but on this machine other processes use the port.
        command.env("CELERIAC__HTTP__LISTEN", format!("127.0.0.1:{port}"));
        command.env("CELERIAC__GLOBAL__INTERVAL", "1s");
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        let process = Process::start("container", &mut command, folder.path());
        let mut container = Self {
            port,
            folder,
            process,
        };
        wait_for("the container to be healthy", 20, async || {
            container.process.must_run();
            container.get("/-/healthy").await
        })
        .await;
        container
    }

    async fn get(&self, path: &str) -> Result<String, String> {
        let url = format!("http://127.0.0.1:{}{path}", self.port);
        let answer = reqwest::get(url).await.map_err(|error| error.to_string())?;
        let (status, text) = (answer.status(), answer.text().await);
        let text = text.map_err(|error| error.to_string())?;
        match status.as_u16() {
            200 => Ok(text),
            _ => Err(format!("{text}\n{}", self.process.output())),
        }
    }

    async fn ready(&self) {
        wait_for("the container to be ready", 30, async || {
            self.get("/-/ready").await
        })
        .await;
    }
}

/// Creating namespaces requires root, which is obtained as in `tests/setup.sh`.
fn as_root(program: &str) -> Command {
    if rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.args(["-n", "-E", program]);
    command
}

/// A DNS server that resolves every name to one address; `None` if this user may not bind port 53. Loopback has many
/// addresses.
async fn name_server() -> Option<SocketAddr> {
    let pid = std::process::id().to_be_bytes();
    let address = SocketAddr::from(([127, 53, pid[2], pid[3].clamp(1, 254)], 53));
    let socket = UdpSocket::bind(address).await.ok()?;
    tokio::spawn(async move {
        let mut buffer = [0; 512];
        while let Ok((count, from)) = socket.recv_from(&mut buffer).await {
            let _ = socket.send_to(&answer(&buffer[..count]), from).await;
        }
    });
    Some(address)
}

/// Answers 127.0.0.1 to queries for an IPv4 address, and nothing to others (RFC 1035, section 4).
fn answer(question: &[u8]) -> Vec<u8> {
    const HEADER: usize = 12;
    let name = question[HEADER..].iter().position(|byte| *byte == 0);
    let end = HEADER + name.expect("a name") + 5;
    let wants_address = question[end - 4..end - 2] == [0, 1];
    let mut answer = question[..2].to_vec();
    answer.extend([0x81, 0x80, 0, 1, 0, u8::from(wants_address), 0, 0, 0, 0]);
    answer.extend(&question[HEADER..end]);
    if wants_address {
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]);
    }
    answer
}

/// A single test, because the image is built once.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_container_file_builds_runs_as_any_user_with_a_read_only_root() {
    // The profile of this test, so that dependencies with the same features need not be compiled again.
    let image = Image::build("deploy/container/Containerfile", &[("PROFILE", "dev")]);
    it_holds_one_program_and_no_shell(&image);
    what_is_not_built_in_says_so(&image);
    it_runs_as_any_user_and_looks_up_names(&image).await;
    it_trusts_what_the_image_trusts(&image).await;
}

fn it_holds_one_program_and_no_shell(image: &Image) {
    let mut files = image.files();
    files.sort();
    assert_eq!(
        files,
        [
            "etc/celeriac/celeriac.yaml",
            "etc/group",
            "etc/nsswitch.conf",
            "etc/passwd",
            "etc/ssl/certs/ca-certificates.crt",
            "usr/bin/celeriac",
        ]
    );
    assert_eq!(image.user, "65532:65532");
    let entry = image.start();
    assert_eq!(
        entry,
        [
            "/usr/bin/celeriac",
            "run",
            "--config",
            "/etc/celeriac/celeriac.yaml"
        ]
    );
    let size = fs::metadata(image.root.join("usr/bin/celeriac")).map(|file| file.len());
    println!(
        "celeriac, built for a test: {} MiB",
        size.expect("a file") >> 20
    );
    let mut shell = as_root("chroot");
    let ended = shell.arg(&image.root).args(["/bin/sh", "-c", ":"]).output();
    assert_eq!(ended.expect("chroot starts").status.code(), Some(127));
}

/// The image is the only build without features here.
fn what_is_not_built_in_says_so(image: &Image) {
    let folder = TempDir::new().expect("a temporary folder");
    let file = folder.path().join("celeriac.yaml");
    let text = "brokers: [{url: 'redis://h'}]\nremote_write: [{url: 'http://h', sigv4: {region: r, access_key: a, secret_key: s}}]\n";
    fs::write(&file, text).expect("a writable folder");
    let mut command = Command::new(image.root.join("usr/bin/celeriac"));
    let output = command.arg("check-config").arg(&file).output();
    let output = output.expect("it is static");
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    let why = "remote_write[0].sigv4: this celeriac was built without AWS signatures; build it with `--features sigv4`";
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains(why), "{told}");
}

async fn it_runs_as_any_user_and_looks_up_names(image: &Image) {
    let (redis, names) = (Redis::start().await, name_server().await);
    // Through DNS and through a hosts file: the static library supports both.
    let by_server = names.map(|_| "broker.celeriac.test");
    for host in by_server.into_iter().chain(["in-the-file.test"]) {
        let url = format!("redis://{host}:{}/0", redis.port);
        let mut container = Container::start(image, &[("BROKER_URL", &url)], |root| {
            let server = names.map(|names| format!("nameserver {}\n", names.ip()));
            let resolver = server.unwrap_or_default();
            fs::write(root.join("etc/resolv.conf"), resolver).expect("a writable folder");
            let hosts = "127.0.0.1 localhost in-the-file.test\n";
            fs::write(root.join("etc/hosts"), hosts).expect("a writable folder");
            name_service_that_crashes(root);
        })
        .await;
        container.ready().await;

        let proc = format!("/proc/{}", container.process.pid());
        let status = fs::read_to_string(format!("{proc}/status")).expect("it runs");
        let user = status.lines().find(|line| line.starts_with("Uid:"));
        let uids = format!("Uid:\t{USER}\t{USER}\t{USER}\t{USER}");
        assert_eq!(user, Some(uids.as_str()));
        let mounts = fs::read_to_string(format!("{proc}/mountinfo")).expect("it runs");
        let root = mounts
            .lines()
            .map(|line| line.split(' ').collect::<Vec<_>>());
        let root = root.into_iter().find(|fields| fields[4] == "/");
        assert!(root.expect("a root")[5].starts_with("ro"), "{mounts}");

        wait_for("a page", 20, async || {
            let page = container.get("/metrics").await?;
            let connected = page.contains("celeriac_broker_connected{broker=\"default\"} 1");
            if connected { Ok(()) } else { Err(page) }
        })
        .await;
        assert!(container.process.terminate(30).success());
        let checkpoint = container.folder.path().join("volume/checkpoint");
        assert!(checkpoint.exists(), "{}", container.process.output());
    }
}

/// Lists a module that kills the process which loads it, as one for another version of glibc may.
fn name_service_that_crashes(root: &Path) {
    let libraries = root.join("usr/lib");
    fs::create_dir_all(&libraries).expect("a writable folder");
    let source = libraries.join("crash.c");
    let text = "__attribute__((constructor)) static void crash(void) { __builtin_trap(); }\n";
    fs::write(&source, text).expect("a writable folder");
    let mut compile = Command::new("cc");
    compile.args(["-shared", "-fPIC", "-nostdlib", "-o"]);
    run(compile.arg(libraries.join("libnss_crash.so.2")).arg(source));
    fs::write(root.join("etc/nsswitch.conf"), "hosts: crash files dns\n").expect("writable");
}

async fn it_trusts_what_the_image_trusts(image: &Image) {
    let (redis, receiver) = (Redis::start().await, Receiver::start().await);
    let folder = TempDir::new().expect("a temporary folder");
    certificates::write(folder.path());
    let port = tls::front(folder.path(), receiver.address).await;
    let config = format!(
        "global: {{interval: 1s}}\ndata_dir: /var/lib/celeriac\nhttp: {{listen: ':0'}}\n\
         brokers: [{{url: {:?}}}]\nremote_write:\n  - url: https://localhost:{port}/api/v1/write\n\
         \x20   tls_config: {{cert_file: /etc/client.pem, key_file: /etc/client.key}}\n",
        redis.url(0)
    );
    let container = Container::start(image, &[], |root| {
        fs::write(root.join("etc/celeriac/celeriac.yaml"), &config).expect("a writable folder");
        fs::write(root.join("etc/hosts"), "127.0.0.1 localhost\n").expect("a writable folder");
        for name in ["client.pem", "client.key"] {
            fs::copy(folder.path().join(name), root.join("etc").join(name)).expect("a copy");
        }
        let bundle = root.join("etc/ssl/certs/ca-certificates.crt");
        let trusted = fs::read_to_string(&bundle).expect("certificates");
        let ours = fs::read_to_string(folder.path().join("ca.pem")).expect("a certificate");
        assert!(trusted.matches("BEGIN CERTIFICATE").count() > 50);
        fs::write(&bundle, trusted + &ours).expect("a writable file");
    })
    .await;
    container.ready().await;
    wait_for("a push", 20, async || {
        let up = receiver.series("celeriac_broker_connected", &[]);
        if up.is_empty() {
            Err(container.process.output())
        } else {
            Ok(())
        }
    })
    .await;
    receiver.assert_no_violation();
}
