// 控制台的全部中文文字。每个页面的文字自成一块，键名以页面名开头。
export default {
  // ---- everywhere
  about: "约 {value}",
  again: "重试",
  away: "无法连接 Cogmill。显示的内容可能已过时；您输入的内容已保留。正在重试…",
  cancel: "取消",
  close: "关闭",
  copied: "已复制",
  copy: "复制",
  language: "语言",
  loading: "加载中…",
  nowhere: "没有这个页面",
  "nowhere.hint": "地址可能有误。按 Ctrl-K 可以查找任何页面，也可以用编号查找任务。",
  save: "保存",
  signout: "退出登录",
  skip: "跳到页面内容",
  theme: "主题",
  "theme.light": "浅色",
  "theme.dark": "深色",
  "theme.system": "跟随系统",
  undo: "撤销",
  undone: "已撤销",
  "confirm.type": "输入 {name} 以确认",
  "filters.any": "不限",
  "filters.clear": "清除筛选",
  "player.none": "还没有画面",
  "player.broken": "视频无法播放",
  "table.empty": "这里没有内容",
  "table.more": "更多",
  "table.shown": "已显示 {count} 条",
  "time.d": "{n} 天",
  "time.h": "{n} 小时",
  "time.min": "{n} 分",
  "time.s": "{n} 秒",
  "time.now": "刚刚",

  // ---- navigation, the bar on top
  nav: "页面",
  "nav.work": "工作",
  "nav.machines": "机器",
  "nav.settings": "设置",
  "nav.overview": "总览",
  "nav.jobs": "任务",
  "nav.gallery": "作品墙",
  "nav.campaigns": "批量项目",
  "nav.review": "审片台",
  "nav.fleet": "机群",
  "nav.usage": "用量",
  "nav.tenants": "租户与密钥",
  "nav.webhooks": "Webhook",
  "nav.audit": "审计",
  "nav.docs": "API 文档",
  "nav.zone": "时区：{zone}",
  "top.account": "账户",
  "top.all": "{tenant} · 全部租户",

  // ---- signing in
  "signin.title": "登录",
  "signin.lead": "请使用团队的 API 密钥。密钥保存在服务器上，不会留在浏览器里。",
  "signin.key": "API 密钥",
  "signin.go": "登录",
  "signin.or": "或",
  "signin.with": "使用 {name} 登录",
  "signin.again": "重新登录",
  "signin.ended": "会话已结束。页面保持原样，您输入的内容都还在。",

  // ---- palette and shortcuts
  "palette.title": "命令",
  "palette.ask": "查找页面、任务编号、批量项目…",
  "palette.none": "没有匹配项。任务需要用完整编号查找。",
  "palette.page": "页面",
  "palette.action": "操作",
  "palette.job": "任务",
  "palette.campaign": "批量项目",
  "palette.theme": "主题：{theme}",
  "keys.title": "键盘快捷键",
  "keys.down": "下一行",
  "keys.up": "上一行",
  "keys.open": "打开该行",

  // ---- problems, by their codes
  "problem.request": "请求",
  "problem.away": "无法连接 Cogmill。就本页所知，没有任何更改；恢复后请重试。",
  "problem.page": "此页面出错了，控制台的其余部分仍可使用。",
  "problem.load": "无法加载此页面。可能已有新版本：请重新加载控制台。",
  "problem.invalid_api_key": "此密钥未知、已被吊销或已过期。",
  "problem.insufficient_scope": "您的密钥没有执行此操作的权限。",
  "problem.rate_limit_exceeded": "请求过于频繁，请稍候。",
  "problem.csrf": "会话已更新，请重试。",

  // ---- states
  "state.held": "挂起",
  "state.queued": "排队中",
  "state.running": "运行中",
  "state.in_progress": "运行中",
  "state.succeeded": "成功",
  "state.completed": "已完成",
  "state.failed": "失败",
  "state.cancelled": "已取消",
  "state.cancelling": "取消中",
  "state.preempted": "被抢占",
  "state.ingesting": "读入中",
  "state.ready": "就绪",
  "state.awaiting_approval": "待批准",
  "state.draft": "草稿",
  "state.paused": "已暂停",
  "state.finished": "已结束",
  "state.wanted": "待启动",
  "state.starting": "启动中",
  "state.draining": "排空中",
  "state.dead": "已失效",
  "state.quarantined": "已隔离",
  "state.busy": "忙碌",
  "state.idle": "空闲",
  "state.pending": "待处理",
  "state.delivered": "已送达",
  "state.exhausted": "已放弃",
  "state.active": "有效",
  "state.revoked": "已吊销",
  "state.expired": "已过期",
  "state.disabled": "已停用",
  "state.enabled": "已启用",
  "state.approved": "已通过",
  "state.rejected": "已驳回",
  "state.waived": "已豁免",

  // ---- parts
  "parts.title": "组件",
  "parts.lead": "页面由这些组件构成，供编写页面的人参考。",

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
