"""What the common SPDX licences demand. One row, one licence: id → (category, obligations).

The table describes; it is no legal advice. A licence that is not here is `unknown`, whatever its name suggests.
"""

NOTICE = ("keep-notice",)
APACHE = ("keep-notice", "notice-file", "state-changes")
BSD3 = ("keep-notice", "no-endorsement")
MARKED = ("keep-notice", "no-misrepresentation")
FILES = ("keep-notice", "state-changes", "source-of-files")
LIBRARY = ("keep-notice", "state-changes", "source-of-files", "allow-relinking")
WORK = ("keep-notice", "state-changes", "source-of-work")
NETWORK = (*WORK, "network-source")
READ = ("read-the-licence",)


def rows(category, obligations, ids):
    """One row for each id of a group that demands the same."""
    return {identity: (category, obligations) for identity in ids.split()}


TABLE = {
    **rows("public-domain", (), "0BSD CC0-1.0 MIT-0 Unlicense WTFPL CC-PDDC blessing SAX-PD"),
    **rows("permissive", NOTICE, """MIT X11 ISC BSD-1-Clause BSD-2-Clause BSD-2-Clause-Patent BSD-Source-Code Unicode-3.0
        Unicode-DFS-2016 Unicode-TOU ICU NCSA PostgreSQL HPND MIT-CMU curl NTP BlueOak-1.0.0 AFL-2.1 AFL-3.0
        CDLA-Permissive-1.0 CDLA-Permissive-2.0 Python-2.0 PSF-2.0 CNRI-Python UPL-1.0 MulanPSL-2.0
        Libpng libpng-2.0 IJG TCL Xnet W3C W3C-20150513 FSFAP FSFULLR BSL-1.0"""),
    **rows("permissive", BSD3, "BSD-3-Clause BSD-3-Clause-Clear BSD-3-Clause-LBNL Apache-1.1"),
    **rows("permissive", (*BSD3, "advertising"), "BSD-4-Clause BSD-4-Clause-UC OpenSSL SSLeay-standalone FTL Apache-1.0"),
    **rows("permissive", MARKED, "Zlib zlib-acknowledgement bzip2-1.0.6"),
    **rows("permissive", ("keep-notice", "state-changes"), "CC-BY-3.0 CC-BY-4.0"),
    **rows("permissive", APACHE, "Apache-2.0 ECL-2.0"),
    **rows("permissive", ("keep-notice", "rename-changes"), "PHP-3.01 Artistic-1.0 Artistic-2.0"),
    **rows("weak-copyleft", ("keep-notice", "rename-changes", "source-of-files"), "OFL-1.1"),
    **rows("weak-copyleft", FILES, """MPL-1.1 MPL-2.0 MPL-2.0-no-copyleft-exception EPL-1.0 EPL-2.0 CDDL-1.0 CDDL-1.1
        CPL-1.0 IPL-1.0 MS-PL MS-RL"""),
    **rows("weak-copyleft", LIBRARY, """LGPL-2.0-only LGPL-2.0-or-later LGPL-2.1-only LGPL-2.1-or-later LGPL-3.0-only
        LGPL-3.0-or-later"""),
    **rows("strong-copyleft", WORK, """GPL-1.0-only GPL-1.0-or-later GPL-2.0-only GPL-2.0-or-later GPL-3.0-only
        GPL-3.0-or-later CC-BY-SA-4.0 CC-BY-SA-3.0 Sleepycat QPL-1.0"""),
    **rows("network-copyleft", NETWORK, """AGPL-1.0-only AGPL-1.0-or-later AGPL-3.0-only AGPL-3.0-or-later
        EUPL-1.1 EUPL-1.2 OSL-3.0 CPAL-1.0 RPL-1.5"""),
    **rows("proprietary", READ, """BUSL-1.1 SSPL-1.0 Elastic-2.0 PolyForm-Noncommercial-1.0.0 PolyForm-Small-Business-1.0.0
        CC-BY-NC-4.0 CC-BY-NC-SA-4.0 CC-BY-ND-4.0 JSON Aladdin"""),
    # npm's word for «nobody else may use this». It is no SPDX id.
    **rows("proprietary", READ, "UNLICENSED"),
}

# Exceptions that lower what a copyleft licence demands of those who build with the component, and to what.
SOFTENING = {
    "Classpath-exception-2.0": ("weak-copyleft", FILES),
    "GCC-exception-2.0": ("weak-copyleft", FILES),
    "GCC-exception-3.1": ("weak-copyleft", FILES),
    "Linux-syscall-note": ("weak-copyleft", FILES),
    "LGPL-3.0-linking-exception": ("weak-copyleft", FILES),
    "OCaml-LGPL-linking-exception": ("weak-copyleft", FILES),
    "Font-exception-2.0": ("weak-copyleft", FILES),
    "Bison-exception-2.2": ("weak-copyleft", FILES),
    "Autoconf-exception-3.0": ("weak-copyleft", FILES),
}


def terms_of(licence):
    """Category and obligations of one licence with its exception."""
    plain = licence.id[:-1] if licence.id.endswith("+") else licence.id
    category, obligations = TABLE.get(plain, ("unknown", READ))
    # An exception permits more; it never makes a licence stricter.
    if category.endswith("copyleft") and licence.exception in SOFTENING:
        return SOFTENING[licence.exception]
    return category, obligations
