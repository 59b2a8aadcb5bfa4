"""How the page looks, and its one script. Both are in the page: it fetches nothing."""

STYLE = """
:root{color-scheme:light dark;--line:#8883;--soft:#8881;--dim:#767676;--link:#0b63ce}
@media(prefers-color-scheme:dark){:root{--dim:#9a9a9a;--link:#7ab7ff}}
*{box-sizing:border-box}
body{font:15px/1.5 system-ui,sans-serif;max-width:64rem;margin:0 auto;padding:2rem 1rem 6rem}
h1{margin:0 0 .25rem;font-size:1.9rem}
h2{margin:2.5rem 0 .25rem;font-size:1.3rem}
h3{margin:1.1rem 0 .3rem;font-size:.8rem;letter-spacing:.05em;text-transform:uppercase;
 color:var(--dim)}
p{margin:.3rem 0 .8rem}
a{color:var(--link);text-decoration:none}
a:hover{text-decoration:underline}
code{font:.92em ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
nav{display:flex;flex-wrap:wrap;gap:.4rem 1rem;align-items:center;position:sticky;top:0;
 padding:.6rem 0;background:Canvas;border-bottom:1px solid var(--line);z-index:1}
nav input{flex:1 1 12rem;font:inherit;padding:.35rem .6rem;border:1px solid var(--line);
 border-radius:.4rem;background:transparent;color:inherit}
details{border:1px solid var(--line);border-radius:.5rem;margin:.4rem 0;overflow:hidden;
 scroll-margin-top:4rem}
details>div{padding:.2rem 1rem 1rem;border-top:1px solid var(--line)}
summary{display:flex;gap:.75rem;align-items:baseline;padding:.5rem .75rem;cursor:pointer;
 list-style:none}
summary::-webkit-details-marker{display:none}
summary:hover{background:var(--soft)}
summary code{font-weight:600;overflow-wrap:anywhere}
summary span:last-child{margin-left:auto;color:var(--dim);text-align:right}
.method{flex:none;width:4.2rem;text-align:center;border-radius:.3rem;color:#fff;
 font:700 .72rem/1.7 system-ui,sans-serif}
.get{background:#1a7f4b}.post{background:#0b63ce}.delete{background:#b3261e}
.any,.put,.patch{background:#6b6b6b}
table{border-collapse:collapse;width:100%;font-size:.93em}
td,th{text-align:left;vertical-align:top;padding:.3rem .75rem .3rem 0;
 border-bottom:1px solid var(--line)}
td:first-child{white-space:nowrap}
tr.refused td{color:var(--dim)}
tr.refused td:first-child code{text-decoration:line-through}
b.must{color:#b3261e;font-weight:600}
@media(prefers-color-scheme:dark){b.must{color:#ff8a80}}
@media(max-width:40rem){summary{flex-wrap:wrap}summary span:last-child{margin-left:0}}
"""

# Hides what does not match, and opens what a link leads to.
SCRIPT = """
const wanted=document.querySelector('nav input');
wanted.hidden=false;
wanted.addEventListener('input',()=>{
  const word=wanted.value.toLowerCase();
  for(const section of document.querySelectorAll('section')){
    let some=false;
    for(const item of section.querySelectorAll('details')){
      item.hidden=!item.textContent.toLowerCase().includes(word);
      some=some||!item.hidden;
    }
    section.hidden=!some;
  }
});
const open=()=>{
  const target=document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if(target&&target.tagName==='DETAILS'){target.open=true;target.scrollIntoView();}
};
addEventListener('hashchange',open);
open();
"""
