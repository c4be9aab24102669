// Every text of the console in English. A page's texts stand in a block of its own, their keys begin with its name.
export default {
  // ---- everywhere
  about: "about {value}",
  again: "Try again",
  away: "Cogmill cannot be reached. What is shown may be old; what you typed is kept. Trying again…",
  cancel: "Cancel",
  close: "Close",
  copied: "Copied",
  copy: "Copy",
  language: "Language",
  loading: "Loading…",
  nowhere: "There is no such page",
  "nowhere.hint": "The address may be mistyped. Ctrl-K finds every page, and a job by its id.",
  save: "Save",
  signout: "Sign out",
  skip: "Skip to the page",
  theme: "Theme",
  "theme.light": "Light",
  "theme.dark": "Dark",
  "theme.system": "As the system",
  undo: "Undo",
  undone: "Undone",
  "confirm.type": "Type {name} to confirm",
  "filters.any": "any",
  "filters.clear": "Clear filters",
  "player.none": "No picture yet",
  "player.broken": "The video could not be played",
  "table.empty": "Nothing here",
  "table.more": "More",
  "table.shown": "{count} shown",
  "time.d": "{n} d",
  "time.h": "{n} h",
  "time.min": "{n} min",
  "time.s": "{n} s",
  "time.now": "just now",

  // ---- navigation, the bar on top
  nav: "Pages",
  "nav.work": "Work",
  "nav.machines": "Machines",
  "nav.settings": "Settings",
  "nav.overview": "Overview",
  "nav.jobs": "Jobs",
  "nav.gallery": "Gallery",
  "nav.campaigns": "Campaigns",
  "nav.review": "Review desk",
  "nav.fleet": "Fleet",
  "nav.usage": "Usage",
  "nav.tenants": "Tenants and keys",
  "nav.webhooks": "Webhooks",
  "nav.audit": "Audit",
  "nav.docs": "API reference",
  "nav.zone": "Times in {zone}",
  "top.account": "Account",
  "top.all": "{tenant} · all tenants",

  // ---- signing in
  "signin.title": "Sign in",
  "signin.lead": "With an API key of your team. The key is kept on the server, not in this browser.",
  "signin.key": "API key",
  "signin.go": "Sign in",
  "signin.or": "or",
  "signin.with": "Sign in with {name}",
  "signin.again": "Sign in again",
  "signin.ended": "Your session has ended. The page stays as it is, with all that you typed.",

  // ---- palette and shortcuts
  "palette.title": "Commands",
  "palette.ask": "Find a page, a job by id, a campaign…",
  "palette.none": "Nothing fits. A job is found by its whole id.",
  "palette.page": "Page",
  "palette.action": "Action",
  "palette.job": "Job",
  "palette.campaign": "Campaign",
  "palette.theme": "Theme: {theme}",
  "keys.title": "Keyboard shortcuts",
  "keys.down": "Next row",
  "keys.up": "Row before",
  "keys.open": "Open the row",

  // ---- problems, by their codes
  "problem.request": "Request",
  "problem.away":
    "Cogmill cannot be reached. Nothing was changed as far as this page knows; try again when it is back.",
  "problem.page": "This page broke. The rest of the console still works.",
  "problem.load": "This page could not be loaded. A new release may have taken its place: load the console anew.",
  "problem.invalid_api_key": "This key is not known, has been revoked or has expired.",
  "problem.insufficient_scope": "Your key does not have the right to do this.",
  "problem.rate_limit_exceeded": "Too many requests at once. Wait a moment.",
  "problem.csrf": "The session was renewed meanwhile. Try again.",

  // ---- states
  "state.held": "Held",
  "state.queued": "Queued",
  "state.running": "Running",
  "state.in_progress": "Running",
  "state.succeeded": "Succeeded",
  "state.completed": "Completed",
  "state.failed": "Failed",
  "state.cancelled": "Cancelled",
  "state.cancelling": "Cancelling",
  "state.preempted": "Preempted",
  "state.ingesting": "Reading in",
  "state.ready": "Ready",
  "state.awaiting_approval": "Awaits approval",
  "state.draft": "Draft",
  "state.paused": "Paused",
  "state.finished": "Finished",
  "state.wanted": "Wanted",
  "state.starting": "Starting",
  "state.draining": "Draining",
  "state.dead": "Dead",
  "state.quarantined": "Quarantined",
  "state.busy": "Busy",
  "state.idle": "Idle",
  "state.pending": "Pending",
  "state.delivered": "Delivered",
  "state.exhausted": "Given up",
  "state.active": "Active",
  "state.revoked": "Revoked",
  "state.expired": "Expired",
  "state.disabled": "Disabled",
  "state.enabled": "Enabled",
  "state.approved": "Approved",
  "state.rejected": "Rejected",
  "state.waived": "Waived",

  // ---- parts
  "parts.title": "Parts",
  "parts.lead": "What pages are made of, alive. For whoever writes a page.",

  // ---- overview

  // ---- jobs

  // ---- job

  // ---- gallery

  // ---- campaigns

  // ---- campaign

  // ---- review

  // ---- fleet

  // ---- usage

  // ---- tenants

  // ---- webhooks

  // ---- audit

  // ---- new video

  // ---- new campaign
};
