// What is to be seen is described by plain objects; show() makes the document
// agree with them and touches nothing else, so that focus, selection and scroll
// position outlive an update. Text becomes text nodes, never markup.

const SVG = "http://www.w3.org/2000/svg";
const HTML = "http://www.w3.org/1999/xhtml";

// h describes an element. Children may be lists; null, undefined and false are
// left out. The property key finds the element again among its siblings.
export function h(tag, props, ...children) {
  return {
    tag,
    props: props ?? {},
    children: children
      .flat(Infinity)
      .filter((child) => child !== null && child !== undefined && child !== false)
      .map((child) => (typeof child === "object" ? child : String(child))),
  };
}

// show makes the children of an element what is described.
export function show(element, ...children) {
  reconcile(element, h("root", null, ...children).children);
}

function reconcile(parent, wanted) {
  const keyed = new Map();
  for (const node of parent.childNodes) if (node.key !== undefined) keyed.set(node.key, node);
  let cursor = parent.firstChild;
  for (const item of wanted) {
    let node = candidate(cursor, keyed, item);
    if (node) update(node, item);
    else node = create(item, parent);
    if (node === cursor) cursor = cursor.nextSibling;
    else parent.insertBefore(node, cursor);
  }
  while (cursor) {
    const next = cursor.nextSibling;
    cursor.remove();
    cursor = next;
  }
}

// candidate is the node that can become what is wanted.
function candidate(cursor, keyed, item) {
  if (typeof item !== "string" && item.props.key !== undefined) {
    const node = keyed.get(item.props.key);
    return node?.localName === item.tag ? node : null;
  }
  if (!cursor || cursor.key !== undefined) return null;
  if (typeof item === "string") return cursor.nodeType === Node.TEXT_NODE ? cursor : null;
  return cursor.localName === item.tag && cursor.props ? cursor : null;
}

function create(item, parent) {
  if (typeof item === "string") return document.createTextNode(item);
  const space = item.tag === "svg" || parent.namespaceURI === SVG ? SVG : HTML;
  const element = document.createElementNS(space, item.tag);
  element.props = {};
  element.key = item.props.key;
  update(element, item);
  return element;
}

function update(node, item) {
  if (typeof item === "string") {
    if (node.nodeValue !== item) node.nodeValue = item;
    return;
  }
  for (const name of Object.keys(node.props)) if (!(name in item.props)) set(node, name, null);
  for (const [name, value] of Object.entries(item.props)) {
    if (name !== "key" && node.props[name] !== value) set(node, name, value);
  }
  node.props = item.props;
  reconcile(node, item.children);
  // The options of a select have to be there before one is chosen.
  if (item.tag === "select" && node.value !== item.props.value) node.value = item.props.value;
}

function set(node, name, value) {
  if (name.startsWith("on")) node[name] = value;
  else if (name === "width%") node.style.width = value === null ? "" : `${value}%`;
  else if (value === null || value === undefined || value === false) node.removeAttribute(name);
  else node.setAttribute(name, value === true ? "" : value);
}
