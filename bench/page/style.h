/* SPDX-License-Identifier: ISC */
/*
 * style.h - the style sheet of the page. Colours that the colour-blind can tell apart (after Okabe and Ito), a dash for
 * each further turn of them, dark where the reader's system is dark, black on white in print.
 */
#ifndef PN_BENCH_STYLE_H
#define PN_BENCH_STYLE_H

static const char pn_bench_style[] =
	":root{color-scheme:light dark;--bg:#fff;--fg:#1b1f24;--soft:#57606a;--rule:#d0d7de;--card:#f6f8fa;"
	"--c0:#0072b2;--c1:#c44e00;--c2:#007a5a;--c3:#a8508a;--c4:#a86f00;--c5:#2c8fc9;--c6:#57606a;--c7:#882255}\n"
	"@media screen and (prefers-color-scheme:dark){:root{--bg:#14171a;--fg:#e6e9ec;--soft:#9aa4af;"
	"--rule:#39424c;--card:#1c2126;--c0:#58b0e8;--c1:#ff8a4c;--c2:#3ecfa2;--c3:#e59acb;--c4:#f0b429;"
	"--c5:#8fd3ff;--c6:#9aa4af;--c7:#e07aa8}}\n"
	"*{box-sizing:border-box}"
	"body{margin:0 auto;padding:1rem;max-width:72rem;background:var(--bg);color:var(--fg);"
	"font:1rem/1.5 system-ui,sans-serif}\n"
	"h1{font-size:1.5rem;margin:.2em 0}h2{font-size:1.2rem;margin:2rem 0 .6rem;border-bottom:1px solid "
	"var(--rule)}"
	"h3{font-size:1rem;margin:0;overflow-wrap:anywhere}\n"
	".charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,26rem),1fr));gap:1rem}"
	"figure{margin:0;padding:.8rem;background:var(--card);border:1px solid var(--rule);border-radius:6px;"
	"min-width:0}"
	"figure p{margin:.1rem 0 .4rem;color:var(--soft);font-size:.85rem}"
	"figure>svg{display:block;width:100%;height:auto}\n"
	"svg text{fill:var(--fg);font-size:13px;font-family:system-ui,sans-serif;paint-order:stroke;"
	"stroke:var(--card);stroke-width:4px;stroke-linejoin:round}"
	"svg .end{text-anchor:end}svg .mid{text-anchor:middle}svg .name{fill:var(--soft)}"
	".grid{stroke:var(--rule);stroke-width:1}.line{fill:none;stroke-width:2.2;stroke-linejoin:round}"
	".d1{stroke-dasharray:7 4}.d2{stroke-dasharray:2 4}"
	".mark{stroke:var(--fg);stroke-width:1.5}.m1{stroke-dasharray:5 4}\n"
	".c0{stroke:var(--c0);--f:var(--c0)}.c1{stroke:var(--c1);--f:var(--c1)}.c2{stroke:var(--c2);--f:var(--c2)}"
	".c3{stroke:var(--c3);--f:var(--c3)}.c4{stroke:var(--c4);--f:var(--c4)}.c5{stroke:var(--c5);--f:var(--c5)}"
	".c6{stroke:var(--c6);--f:var(--c6)}.c7{stroke:var(--c7);--f:var(--c7)}\n"
	".dot{fill:var(--f)}.bar{fill:var(--f);stroke-width:1}.p1{fill-opacity:.4}.p2{fill-opacity:.1}\n"
	".legend{list-style:none;margin:.3rem 0;padding:0;display:flex;flex-wrap:wrap;gap:.1rem 1rem;"
	"font-size:.85rem}"
	".legend li{overflow-wrap:anywhere}"
	".legend svg{width:28px;height:10px;margin-right:.4rem}\n"
	".scroll{overflow-x:auto;margin:.6rem 0}table{border-collapse:collapse;font-size:.85rem}"
	"caption{text-align:left;color:var(--soft);padding:.2rem 0}"
	"th,td{padding:.2rem .6rem;border-bottom:1px solid var(--rule);text-align:left;vertical-align:top}"
	"thead th{white-space:nowrap}tbody th{font-weight:600;min-width:12rem}"
	".n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}.none{color:var(--soft);"
	"font-style:italic}"
	".command code{overflow-wrap:anywhere}.command{min-width:18rem}"
	"details{font-size:.85rem}summary{cursor:pointer;color:var(--soft)}\n"
	"@media print{body{max-width:none;font-size:10pt}figure{break-inside:avoid}details{display:none}"
	".scroll{overflow:visible}.charts{grid-template-columns:1fr 1fr}}\n";

#endif
