/** What JSX is compiled to in a bundle: calls with the children in a row are the shortest. */
export { Fragment, h } from "preact";
