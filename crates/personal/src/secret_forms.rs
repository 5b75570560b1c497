//! The table of services' tokens: prefix, alphabet, length.
//!
//! Facts that the services document, as gitleaks (MIT) collects them.

/// The characters of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Alphabet {
    /// Lower-case hexadecimal.
    Hex,
    /// Capitals and digits.
    Upper,
    /// Letters and digits.
    Plain,
    /// Letters, digits, `-` and `_`.
    Url,
    /// Letters, digits, `-`, `_`, `=`, `.`.
    Dotted,
    /// Base 64: letters, digits, `+`, `/`, `=`.
    Base64,
}

impl Alphabet {
    /// True if the byte is one of the characters.
    #[inline]
    pub(crate) fn has(self, byte: u8) -> bool {
        match self {
            Self::Hex => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
            Self::Upper => matches!(byte, b'0'..=b'9' | b'A'..=b'Z'),
            Self::Plain => byte.is_ascii_alphanumeric(),
            Self::Url => byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'),
            Self::Dotted => byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'=' | b'.'),
            Self::Base64 => byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'='),
        }
    }
}

/// What follows the prefix.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Tail {
    /// Between so many and so many characters.
    One(Alphabet, usize, usize),
    /// Parts with a mark between, each between so many and so many characters.
    Parts(Alphabet, u8, &'static [(usize, usize)]),
}

/// One kind of token.
pub(crate) struct Form {
    pub(crate) name: &'static str,
    pub(crate) prefixes: &'static [&'static str],
    pub(crate) tail: Tail,
    /// Less entropy than this, in bits for each character, is no random value.
    pub(crate) entropy_bits_min: f32,
    pub(crate) score: f32,
}

const fn form(name: &'static str, prefixes: &'static [&'static str], tail: Tail) -> Form {
    Form { name, prefixes, tail, entropy_bits_min: 2.5, score: 0.95 }
}

/// For prefixes that words also have.
const fn weak(name: &'static str, prefixes: &'static [&'static str], tail: Tail, entropy_bits_min: f32) -> Form {
    Form { name, prefixes, tail, entropy_bits_min, score: 0.7 }
}

/// `SK` and the first of 32 hexadecimal digits.
const TWILIO_KEYS: &[&str] =
    &["SK0", "SK1", "SK2", "SK3", "SK4", "SK5", "SK6", "SK7", "SK8", "SK9", "SKa", "SKb", "SKc", "SKd", "SKe", "SKf"];
/// `AC` and the first of 32 hexadecimal digits.
const TWILIO_ACCOUNTS: &[&str] =
    &["AC0", "AC1", "AC2", "AC3", "AC4", "AC5", "AC6", "AC7", "AC8", "AC9", "ACa", "ACb", "ACc", "ACd", "ACe", "ACf"];

use Alphabet::{Base64, Dotted, Hex, Plain, Upper, Url};
use Tail::{One, Parts};

#[rustfmt::skip]
pub(crate) const FORMS: &[Form] = &[
    form("aws-access-key", &["AKIA", "ASIA", "ABIA", "ACCA"], One(Upper, 16, 16)),
    form("github-token", &["ghp_", "gho_", "ghu_", "ghs_", "ghr_"], One(Plain, 36, 255)),
    form("github-fine-grained-token", &["github_pat_"], One(Url, 60, 255)),
    form("gitlab-token", &["glpat-", "gldt-", "glrt-", "glcbt-", "glptt-", "glsoat-", "glft-", "glagent-", "glimt-", "gloas-"], One(Dotted, 20, 255)),
    form("slack-token", &["xoxb-", "xoxp-", "xoxa-", "xoxr-", "xoxs-", "xoxo-", "xoxe-", "xoxe.xoxp-", "xoxe.xoxb-", "xapp-"], One(Url, 20, 255)),
    form("slack-webhook", &["https://hooks.slack.com/services/T", "https://hooks.slack.com/workflows/T"], Parts(Plain, b'/', &[(7, 12), (8, 12), (20, 40)])),
    form("stripe-key", &["sk_live_", "sk_test_", "rk_live_", "rk_test_", "whsec_"], One(Plain, 16, 255)),
    form("openai-key", &["sk-proj-", "sk-svcacct-", "sk-admin-", "sk-None-"], One(Url, 40, 255)),
    form("anthropic-key", &["sk-ant-"], One(Url, 40, 255)),
    form("openrouter-key", &["sk-or-v1-"], One(Hex, 64, 64)),
    weak("sk-key", &["sk-"], One(Plain, 32, 128), 3.2),
    form("google-api-key", &["AIza"], One(Url, 35, 35)),
    form("google-oauth-secret", &["GOCSPX-"], One(Url, 28, 28)),
    form("google-oauth-token", &["ya29."], One(Url, 40, 2048)),
    form("npm-token", &["npm_"], One(Plain, 36, 36)),
    form("pypi-token", &["pypi-AgEIcHlwaS5vcmc", "pypi-AgENdGVzdC5weXBpLm9yZw"], One(Url, 50, 1000)),
    form("hugging-face-token", &["hf_", "api_org_"], One(Plain, 34, 40)),
    form("docker-token", &["dckr_pat_", "dckr_oat_"], One(Url, 27, 40)),
    form("digitalocean-token", &["dop_v1_", "doo_v1_", "dor_v1_"], One(Hex, 64, 64)),
    form("shopify-token", &["shpat_", "shpca_", "shppa_", "shpss_"], One(Plain, 32, 32)),
    form("sendgrid-key", &["SG."], Parts(Url, b'.', &[(16, 32), (30, 64)])),
    weak("twilio-key", TWILIO_KEYS, One(Hex, 31, 31), 3.0),
    weak("twilio-account", TWILIO_ACCOUNTS, One(Hex, 31, 31), 3.0),
    weak("mailgun-key", &["key-"], One(Hex, 32, 32), 3.0),
    form("square-token", &["sq0atp-", "sq0csp-", "sq0idp-"], One(Url, 22, 60)),
    form("databricks-token", &["dapi"], One(Hex, 32, 36)),
    form("linear-key", &["lin_api_", "lin_oauth_"], One(Plain, 32, 64)),
    form("notion-token", &["ntn_"], One(Plain, 40, 60)),
    form("atlassian-token", &["ATATT3", "ATCTT3"], One(Dotted, 100, 300)),
    form("postman-key", &["PMAK-"], One(Url, 50, 64)),
    form("planetscale-token", &["pscale_tkn_", "pscale_pw_", "pscale_oauth_"], One(Dotted, 32, 64)),
    form("pulumi-token", &["pul-"], One(Hex, 40, 40)),
    form("rubygems-key", &["rubygems_"], One(Hex, 48, 48)),
    form("crates-token", &["cio"], One(Plain, 32, 32)),
    form("clojars-token", &["CLOJARS_"], One(Hex, 60, 60)),
    form("doppler-token", &["dp.pt.", "dp.st.", "dp.ct.", "dp.sa."], One(Dotted, 40, 80)),
    form("grafana-token", &["glc_", "glsa_"], One(Url, 32, 400)),
    form("vault-token", &["hvs.", "hvb.", "hvr."], One(Url, 24, 300)),
    form("heroku-key", &["HRKU-"], One(Url, 36, 64)),
    form("new-relic-key", &["NRAK-"], One(Upper, 27, 27)),
    form("age-key", &["AGE-SECRET-KEY-1"], One(Upper, 58, 58)),
    form("replicate-token", &["r8_"], One(Plain, 37, 40)),
    form("perplexity-key", &["pplx-"], One(Plain, 48, 56)),
    form("groq-key", &["gsk_"], One(Plain, 50, 56)),
    form("xai-key", &["xai-"], One(Plain, 70, 90)),
    form("alibaba-access-key", &["LTAI"], One(Plain, 12, 26)),
    form("tencent-secret-id", &["AKID"], One(Plain, 32, 36)),
    form("figma-token", &["figd_", "figu_", "figo_"], One(Url, 36, 60)),
    form("dropbox-token", &["sl.u.", "sl.B"], One(Url, 100, 2048)),
    form("adafruit-key", &["aio_"], One(Plain, 28, 28)),
    form("typeform-token", &["tfp_"], One(Dotted, 40, 70)),
    form("prefect-key", &["pnu_", "pnb_"], One(Plain, 36, 36)),
    form("sendinblue-key", &["xkeysib-"], One(Url, 64, 90)),
    form("shippo-token", &["shippo_live_", "shippo_test_"], One(Hex, 40, 40)),
    form("sentry-token", &["sntrys_", "sntryu_"], One(Base64, 40, 400)),
    form("sourcegraph-token", &["sgp_", "slk_"], One(Url, 40, 80)),
    form("supabase-key", &["sbp_", "sb_secret_"], One(Url, 30, 60)),
    form("terraform-token", &["atlasv1."], One(Url, 60, 80)),
    form("artifactory-key", &["AKCp"], One(Plain, 60, 73)),
    form("easypost-key", &["EZAK", "EZTK"], One(Plain, 54, 54)),
    form("flutterwave-key", &["FLWSECK-", "FLWSECK_TEST-"], One(Url, 12, 60)),
    form("fly-token", &["FlyV1 fm2_", "FlyV1 fm1_", "fo1_"], One(Dotted, 40, 800)),
    form("cloudflare-ca-key", &["v1.0-"], One(Url, 160, 180)),
    form("facebook-token", &["EAAC", "EAAB", "EAAM"], One(Plain, 80, 400)),
    form("square-access-token", &["EAAAE", "EAAAl"], One(Url, 55, 65)),
    form("azure-storage-key", &["AccountKey=", "SharedAccessKey="], One(Base64, 43, 90)),
    form("telegram-bot-token", &[":AA"], One(Url, 33, 33)),
    form("discord-webhook", &["https://discord.com/api/webhooks/", "https://discordapp.com/api/webhooks/"], Parts(Url, b'/', &[(17, 20), (60, 72)])),
    form("volcengine-key", &["AKLT"], One(Plain, 40, 50)),
    form("zhipu-or-baidu-key", &["bce-v3/ALTAK-"], One(Base64, 40, 120)),
];

/// Words of secrecy for passwords, as they are written before a value.
pub(crate) const PASSWORD_WORDS: &[&str] = &[
    "password",
    "Password",
    "PASSWORD",
    "passwd",
    "PASSWD",
    "pwd",
    "Pwd",
    "PWD",
    "passphrase",
    "Passphrase",
    "PASSPHRASE",
    "密码",
    "口令",
    "密碼",
];

/// Words of secrecy for tokens and keys.
pub(crate) const TOKEN_WORDS: &[&str] = &[
    "secret",
    "Secret",
    "SECRET",
    "token",
    "Token",
    "TOKEN",
    "api_key",
    "api-key",
    "apikey",
    "apiKey",
    "ApiKey",
    "API_KEY",
    "APIKEY",
    "API key",
    "access_key",
    "accessKey",
    "AccessKey",
    "ACCESS_KEY",
    "private_key",
    "privateKey",
    "PRIVATE_KEY",
    "auth_key",
    "AUTH_KEY",
    "authkey",
    "credential",
    "Credential",
    "CREDENTIAL",
    "encryption_key",
    "ENCRYPTION_KEY",
    "密钥",
    "私钥",
    "令牌",
];
