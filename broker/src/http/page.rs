//! The live page: files that are part of the program, so that it works without any other server.

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};

use super::Reply;

/// One file of the page.
pub(super) struct Asset {
    path: &'static str,
    content_type: &'static str,
    content: &'static str,
}

const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

const fn script(path: &'static str, content: &'static str) -> Asset {
    Asset { path, content_type: JAVASCRIPT, content }
}

const ASSETS: &[Asset] = &[
    Asset {
        path: "/",
        content_type: "text/html; charset=utf-8",
        content: include_str!("../page/index.html"),
    },
    Asset {
        path: "/page.css",
        content_type: "text/css; charset=utf-8",
        content: include_str!("../page/page.css"),
    },
    Asset {
        path: "/icon.svg",
        content_type: "image/svg+xml",
        content: include_str!("../page/icon.svg"),
    },
    script("/page.js", include_str!("../page/page.js")),
    script("/chart.js", include_str!("../page/chart.js")),
    script("/connection.js", include_str!("../page/connection.js")),
    script("/format.js", include_str!("../page/format.js")),
    script("/meter.js", include_str!("../page/meter.js")),
    script("/meter_panel.js", include_str!("../page/meter_panel.js")),
    script("/quotes.js", include_str!("../page/quotes.js")),
    script("/snippets.js", include_str!("../page/snippets.js")),
    script("/transports.js", include_str!("../page/transports.js")),
];

/// What the page may do: run its own scripts and talk to its own broker.
const POLICY: &str = "default-src 'self'; connect-src 'self' ws: wss:; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";

/// The file at this path.
pub(super) fn find(path: &str) -> Option<&'static Asset> {
    ASSETS.iter().find(|asset| asset.path == path)
}

impl Asset {
    pub(super) fn response(&self) -> Reply {
        let mut reply = Reply::new(Bytes::from_static(self.content.as_bytes()));
        let headers = reply.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        reply
    }
}
