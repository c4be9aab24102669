// What the workers of a fleet can be chosen by: what they do, their pool and their cluster.
import { t } from "../../lib/words.js";
import { stateWord } from "../../parts/State.js";
import { doing } from "./doing.js";

/** @param {any[]} workers @returns {import("../../parts/Filters.js").Filter[]} */
export function filterOf(workers) {
  const each = (/** @type {(worker: any) => string} */ of) => [...new Set(workers.map(of))].sort();
  const clusters = each((worker) => worker.cluster);
  return [
    {
      name: "does",
      label: t("fleet.does"),
      options: each((worker) => doing(worker).state).map((state) => [state, stateWord(state)]),
    },
    { name: "pool", label: t("overview.pool"), options: each((worker) => worker.pool).map((pool) => [pool, pool]) },
    ...(clusters.length > 1
      ? [
          {
            name: "cluster",
            label: t("fleet.cluster"),
            options: clusters.map((name) => /** @type {[string, string]} */ ([name, name])),
          },
        ]
      : []),
  ];
}
