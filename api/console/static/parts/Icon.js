// Line icons, 24 units wide, drawn by their paths.
import { html } from "../lib/ui.js";

/** @type {Record<string, string>} */
const PATHS = {
  overview: "M4 13h6V4H4zM14 20h6v-9h-6zM4 20h6v-3H4zM14 7h6V4h-6z",
  jobs: "M8 6h12M8 12h12M8 18h12M4 6h.01M4 12h.01M4 18h.01",
  gallery: "M4 5h7v6H4zM13 5h7v6h-7zM4 13h7v6H4zM13 13h7v6h-7z",
  campaigns: "M4 20V9M9.300 20V4M14.700 20v-7M20 20V7",
  review: "M9 11l2.500 2.500L20 5M20 12.500V18a2 2 0 0 1-2 2H6a2 2 0 0 1-2-2V6a2 2 0 0 1 2-2h9",
  newvideo: "M12 5v14M5 12h14",
  newcampaign: "M12 5v14M5 12h14",
  fleet: "M5 4h14v6H5zM5 14h14v6H5zM8.500 7h.01M8.500 17h.01M12 7h4M12 17h4",
  usage: "M12 3a9 9 0 1 0 9 9h-9zM15.500 3.700a9 9 0 0 1 4.800 4.800h-4.800z",
  tenants:
    "M15 20v-1.500a3.500 3.500 0 0 0-3.500-3.500h-4A3.500 3.500 0 0 0 4 18.500V20M9.500 12a3.500 3.500 0 1 0 0-7 3.500 3.500 0 0 0 0 7M20 20v-1.500a3.500 3.500 0 0 0-2.700-3.400M15 5.200a3.500 3.500 0 0 1 0 6.700",
  webhooks: "M13 5l-7.500 8H11l-1 6 7.500-8H12z",
  audit: "M7 3h8l4 4v14H7a2 2 0 0 1-2-2V5a2 2 0 0 1 2-2M14.500 3v4.500H19M9 13h6M9 17h4",
  plus: "M12 5v14M5 12h14",
  search: "M11 18a7 7 0 1 0 0-14 7 7 0 0 0 0 14M20 20l-4-4",
  close: "M6 6l12 12M18 6L6 18",
  menu: "M4 7h16M4 12h16M4 17h16",
  sun: "M12 16a4 4 0 1 0 0-8 4 4 0 0 0 0 8M12 3v2M12 19v2M3 12h2M19 12h2M5.600 5.600L7 7M17 17l1.400 1.400M5.600 18.400L7 17M17 7l1.400-1.400",
  moon: "M20 14.500A8.500 8.500 0 0 1 9.500 4a8.500 8.500 0 1 0 10.500 10.500",
  system: "M4 5h16v11H4zM9 20h6M12 16v4",
  language: "M4 6h9M8.500 4v2M11 6c-.8 4-3 6.500-6.500 8M6.500 9c1 2.500 3 4 5 5M12.500 20l4-9 4 9M14 17h5",
  bell: "M6 17V11a6 6 0 1 1 12 0v6l1.500 1.500h-15zM10.500 21h3",
  out: "M14 8V6a2 2 0 0 0-2-2H6a2 2 0 0 0-2 2v12a2 2 0 0 0 2 2h6a2 2 0 0 0 2-2v-2M9 12h11M17 9l3 3-3 3",
  user: "M12 12a4 4 0 1 0 0-8 4 4 0 0 0 0 8M5 20c0-3.500 3-5.500 7-5.500s7 2 7 5.500",
  copy: "M9 9h10v11H9zM15 9V5H5v10h4",
  check: "M5 12.500l4.500 4.500L19 7.500",
  alert: "M12 4L2.800 19.500h18.400zM12 10v4.500M12 17.200h.01",
  info: "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18M12 11v5.500M12 7.700h.01",
  more: "M5.500 12h1M11.500 12h1M17.500 12h1",
  down: "M6 9.500l6 6 6-6",
  left: "M14.500 6l-6 6 6 6",
  right: "M9.500 6l6 6-6 6",
  play: "M8 5l11 7-11 7z",
  pause: "M8 5v14M16 5v14",
  stop: "M6.500 6.500h11v11h-11z",
  again: "M4 12a8 8 0 1 0 2.500-5.800L4 8.500M4 4v4.500h4.500",
  download: "M12 4v11M7.500 11L12 15.500 16.500 11M5 20h14",
  filter: "M4 5h16l-6.500 7.500V19l-3-1.500v-5z",
  keyboard: "M3 7h18v11H3zM7 11h.01M11 11h.01M15 11h.01M17.500 11h.01M8 14.500h8",
  save: "M6 4h12v16l-6-4.500L6 20z",
  note: "M5 4h14v11l-5 5H5zM14 20v-5h5M8.500 8.500h7M8.500 12h4",
  external: "M14 4h6v6M20 4l-9 9M18 14v4a2 2 0 0 1-2 2H6a2 2 0 0 1-2-2V8a2 2 0 0 1 2-2h4",
  trash: "M5 7h14M10 7V4.500h4V7M7 7l.8 13h8.400L17 7M10.500 11v5M13.500 11v5",
  key: "M8.500 19a4.500 4.500 0 1 0 0-9 4.500 4.500 0 0 0 0 9M12 11.500L20 4M16.500 7.500l2.500 2.500",
};

/** @param {{name: string}} props */
export const Icon = ({ name }) => html`
  <svg viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="1.7" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true">
    <path d=${PATHS[name] ?? PATHS.info} />
  </svg>
`;
