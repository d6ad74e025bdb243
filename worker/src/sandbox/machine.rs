//! What programs need of a machine to run at all, and nothing that tells them about its users or its other programs.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::Rules;

/// Programs, libraries and what belongs to them.
const EXECUTE: [&str; 8] = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/opt", "/nix/store"];
/// How programs find their libraries, the time, names and trust; the processor and the memory; themselves.
const READ: [&str; 33] = [
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/ld.so.preload",
    "/etc/alternatives",
    "/etc/localtime",
    "/etc/timezone",
    "/etc/locale.alias",
    "/etc/os-release",
    "/etc/mime.types",
    "/etc/passwd",
    "/etc/group",
    "/etc/nsswitch.conf",
    "/etc/hosts",
    "/etc/host.conf",
    "/etc/gai.conf",
    "/etc/resolv.conf",
    "/etc/services",
    "/etc/protocols",
    "/etc/ssl/certs",
    "/etc/ssl/cert.pem",
    "/etc/ssl/openssl.cnf",
    "/etc/ca-certificates",
    "/etc/pki/tls/certs",
    "/etc/pki/ca-trust/extracted",
    "/run/systemd/resolve",
    "/dev/random",
    "/dev/urandom",
    "/proc/self",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/stat",
    "/sys/devices/system/cpu",
];
/// Devices that hold nothing.
const WRITE: [&str; 3] = ["/dev/null", "/dev/zero", "/dev/full"];
/// What lies beside a folder `bin` and belongs to its programs; `pyvenv.cfg` makes a virtual environment of Python one.
const BESIDE_BIN: [&str; 4] = ["lib", "lib64", "libexec", "pyvenv.cfg"];
/// Interpreters have their settings in folders of `/etc` that have their version in the name.
const SETTINGS: &str = "python3";

/// What every program may touch, as far as it is there.
pub(super) fn rules() -> Rules {
    let there = |paths: &[&str]| paths.iter().map(PathBuf::from).filter(|path| path.exists()).collect::<Vec<_>>();
    let mut read = there(&READ);
    let settings = std::fs::read_dir("/etc").into_iter().flatten().filter_map(Result::ok);
    read.extend(settings.filter(|e| e.file_name().to_string_lossy().starts_with(SETTINGS)).map(|e| e.path()));
    Rules { execute: there(&EXECUTE), read, write: there(&WRITE), ..Rules::default() }
}

/// Where a program lies, with what it needs there: an interpreter may be installed anywhere. `bin` has its libraries beside
/// it; `shims` belongs to a version manager, which has its versions beside it.
pub(super) fn home_of(program: &str, dir: &Path, path: Option<&OsStr>) -> Vec<PathBuf> {
    let found = if program.contains('/') {
        Some(dir.join(program))
    } else {
        path.into_iter().flat_map(std::env::split_paths).map(|folder| folder.join(program)).find(|file| file.is_file())
    };
    let real = found.as_ref().and_then(|file| file.canonicalize().ok());
    let homes = found.into_iter().chain(real).flat_map(|file| home(&file));
    homes.filter(|path| path.exists()).collect()
}

/// Where version managers keep what their shims start.
const SHIMMED: [&str; 2] = ["versions", "installs"];

fn home(file: &Path) -> Vec<PathBuf> {
    let Some(folder) = file.parent() else { return Vec::new() };
    let above = folder.parent().filter(|above| above.parent().is_some());
    match (folder.file_name().and_then(OsStr::to_str), above) {
        (Some("bin"), Some(above)) => {
            BESIDE_BIN.iter().map(|name| above.join(name)).chain([folder.to_owned()]).collect()
        }
        // A version manager's, and not somebody's folder that happens to bear the name.
        (Some("shims"), Some(above)) if SHIMMED.iter().any(|name| above.join(name).is_dir()) => vec![above.to_owned()],
        _ => vec![file.to_owned()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interpreter_brings_what_lies_beside_it_and_no_more() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        for folder in ["venv/bin", "venv/lib", "venv/secrets", "pyenv/shims", "pyenv/versions", "tools"] {
            std::fs::create_dir_all(at(folder)).unwrap();
        }
        for file in ["real", "pyenv/shims/ruby", "tools/run"] {
            std::fs::write(at(file), "").unwrap();
        }
        std::os::unix::fs::symlink(at("real"), at("venv/bin/python")).unwrap();
        let path = std::env::join_paths([at("venv/bin"), at("pyenv/shims")]).unwrap();
        let home = |program| home_of(program, root.path(), Some(&path));
        assert_eq!(home("python"), [at("venv/lib"), at("venv/bin"), at("real").canonicalize().unwrap()]);
        assert_eq!(home("ruby"), [at("pyenv"), at("pyenv").canonicalize().unwrap()]);
        assert_eq!(home("tools/run"), [at("tools/run"), at("tools/run").canonicalize().unwrap()]);
        assert_eq!(home("absent"), Vec::<PathBuf>::new());
        std::fs::create_dir_all(at("mine/shims")).unwrap();
        std::fs::write(at("mine/shims/run"), "").unwrap();
        let file = at("mine/shims/run");
        assert_eq!(super::home(&file), [file], "a folder that happens to bear the name");
        assert_eq!(super::home(Path::new("/shims/x")), [PathBuf::from("/shims/x")], "never everything");
    }
}
