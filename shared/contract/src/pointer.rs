//! Where in a document something stands, as a JSON pointer.

use std::fmt;

/// A JSON pointer that grows downwards.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Pointer(String);

impl Pointer {
    /// The whole document.
    #[must_use]
    pub const fn root() -> Self {
        Self(String::new())
    }

    /// The field of this object.
    #[must_use]
    pub fn field(&self, name: &str) -> Self {
        Self(format!("{}/{}", self.0, name.replace('~', "~0").replace('/', "~1")))
    }

    /// The item of this list.
    #[must_use]
    pub fn item(&self, index: usize) -> Self {
        Self(format!("{}/{index}", self.0))
    }

    /// What another pointer points to below this one.
    #[must_use]
    pub fn below(&self, pointer: &str) -> Self {
        Self(format!("{}{pointer}", self.0))
    }

    /// The pointer as a reference has it: `#/a%20b`.
    #[must_use]
    pub fn fragment(&self) -> String {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/~-_.$".contains(&byte);
        let encoded =
            self.0.bytes().map(|it| if plain(it) { char::from(it).to_string() } else { format!("%{it:02X}") });
        std::iter::once("#".to_owned()).chain(encoded).collect()
    }

    /// The object or list around it.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        self.0.rfind('/').map(|at| Self(self.0[..at].to_owned()))
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
