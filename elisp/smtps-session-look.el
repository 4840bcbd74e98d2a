;;; smtps-session-look.el --- How a session looks  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;; This file is part of smtps.

;;; Commentary:

;; Faces, times, octets, and the line above the buffer.
;;
;; Times and octets are no part of the text: each line has them as a display
;; property that holds only while they are wanted, so that old lines and new
;; ones change alike, and what is copied is the text.
;;
;; A server may flood ten sessions with lines, and garbage collection looks at
;; each property of each line, while no key is obeyed.  So a line has few: what
;; all lines of a face share is in a category, and the display properties are
;; there only while something is shown by them.

;;; Code:

(require 'seq)
(require 'subr-x)

(defvar smtps-session--arguments)
(defvar smtps-session--data)
(defvar smtps-session--prompt-start)
(defvar smtps-session-mechanism)
(defvar smtps-session-state)
(defvar smtps-session-tls)
(defvar smtps-session-user)
(declare-function smtps-explain-help-echo "smtps-explain" (window object position))

;;;; Faces

;; With eight colours yellow, green and cyan can't be read on white, nor blue
;; on black.

(defface smtps-session-send
  '((((class color) (min-colors 88)) :inherit font-lock-keyword-face)
    (((class color) (background light)) :foreground "blue")
    (((class color)) :foreground "cyan")
    (t :weight bold))
  "Face of lines that were sent."
  :group 'smtps)

(defface smtps-session-recv '((t :inherit default))
  "Face of lines of the server."
  :group 'smtps)

(defface smtps-session-success
  '((((class color) (min-colors 88)) :inherit success)
    (((class color) (background light)) :weight bold)
    (((class color)) :foreground "green")
    (t :inherit default))
  "Face of replies that accept."
  :group 'smtps)

(defface smtps-session-refusal
  '((((class color) (min-colors 88)) :inherit error)
    (((class color)) :foreground "red" :weight bold)
    (t :inverse-video t))
  "Face of replies that refuse, and of what went wrong."
  :group 'smtps)

(defface smtps-session-info
  '((((class color) (min-colors 88)) :inherit shadow)
    (t :inherit default))
  "Face of lines that tell about the connection."
  :group 'smtps)

(defface smtps-session-tls
  '((((class color) (min-colors 88) (background light)) :foreground "#6f4a8e")
    (((class color) (min-colors 88)) :foreground "#b9a3d6")
    (((class color)) :foreground "magenta")
    (t :slant italic))
  "Face of lines that tell about TLS and the certificate."
  :group 'smtps)

(defface smtps-session-time
  '((((class color) (min-colors 88)) :inherit shadow :weight normal)
    (((class color) (background dark)) :foreground "yellow" :weight normal)
    (t :inherit default :weight normal))
  "Face of the times beside the lines."
  :group 'smtps)

(defface smtps-session-octet '((t :inherit escape-glyph))
  "Face of octets and line ends that are shown as what they are."
  :group 'smtps)

(defface smtps-session-prompt '((t :inherit comint-highlight-prompt))
  "Face of the prompt."
  :group 'smtps)

(defface smtps-session-prompt-in-data
  '((((class color) (min-colors 88)) :inherit warning)
    (((class color) (background light)) :foreground "magenta" :weight bold)
    (((class color)) :foreground "yellow" :weight bold)
    (t :inverse-video t))
  "Face of the prompt while DATA is open: what is typed is the message."
  :group 'smtps)

(defconst smtps-session-look--tls-regexp
  "\\`- \\(?:Got a cert\\|Certificate\\|Status:\\|TLS:\\|Handshake\\)"
  "What a line about TLS begins with.")

(defun smtps-session-look--info-face (text)
  "Return the face of TEXT, a line about the connection."
  (let ((case-fold-search nil))
    (cond ((or (string-prefix-p "! " text)
               (string-prefix-p "- Status: The certificate is NOT" text))
           'smtps-session-refusal)
          ((or (string-prefix-p " - " text)
               (string-match-p smtps-session-look--tls-regexp text))
           'smtps-session-tls)
          (t 'smtps-session-info))))

(defun smtps-session-look--reply-face (code)
  "Return the face of a reply with CODE, a number or nil."
  (cond ((null code) 'smtps-session-recv)
        ((>= code 400) 'smtps-session-refusal)
        ((>= code 300) 'smtps-session-recv)
        (t 'smtps-session-success)))

(defun smtps-session-look--category (face)
  "Return the category of lines with FACE: a symbol that has their properties."
  (or (get face 'smtps-session-category)
      (let ((category (intern (format "%s-line" face))))
        (setplist category
                  (list 'face face 'font-lock-face face 'field 'output
                        'read-only t 'front-sticky '(read-only)
                        ;; Read only at its end, too, which may be that of a narrowing.
                        'rear-nonsticky '(field)
                        'help-echo #'smtps-explain-help-echo))
        (put face 'smtps-session-category category)
        category)))

(defun smtps-session-look--line (text face properties)
  "Return TEXT and a line break as a line with FACE and PROPERTIES."
  (let ((line (concat text "\n")))
    (add-text-properties 0 (length line)
                         (cons 'category (cons (smtps-session-look--category face)
                                               properties))
                         line)
    line))

;; Emacs may take a second to lay out a screen of such lines.
(defconst smtps-session-look--leftward-limit 64
  "Letters from right to left that are shown as such in a line of a server.")

(defun smtps-session-look--laid-out (text)
  "Return TEXT, a line of a server, in a form that is displayed quickly.
Where it has very many letters from right to left, they are shown as \\uNNNN."
  (let ((leftward (lambda (character) (aref (char-category-set character) ?R))))
    (if (or (= (length text) (string-bytes text))
            (<= (seq-count leftward text) smtps-session-look--leftward-limit))
        text
      (mapconcat (lambda (character)
                   (if (funcall leftward character) (format "\\u%04x" character)
                     (string character)))
                 text ""))))

;;;; Times and octets

(defcustom smtps-session-show-times nil
  "Whether a session begins with times beside the lines.
Beside a reply stands how long it took, beside a command when it left,
counted from the beginning of the session."
  :type 'boolean
  :group 'smtps
  :package-version '(smtps . "0.1.0"))

(defcustom smtps-session-show-octets nil
  "Whether a session begins with octets shown: line ends and what is not ASCII."
  :type 'boolean
  :group 'smtps
  :package-version '(smtps . "0.1.0"))

;; Where a line was yanked they are nil, whatever the user's defaults are.
(defvar-local smtps-session-look--times nil
  "Non-nil if times are shown here.")

(defvar-local smtps-session-look--octets nil
  "Non-nil if octets are shown here.")

(defvar-local smtps-session-look--left nil
  "Commands that were sent and not answered, the first first: (VERB . AT).")

(defvar-local smtps-session-look--last-left 0
  "When a line left last, in milliseconds since the session began.")

(defvar-local smtps-session-look--took nil
  "Milliseconds that the last reply took, or nil.")

(defun smtps-session-look--set-up ()
  "Have the times and octets that the user wants, and the line above."
  (setq smtps-session-look--times smtps-session-show-times
        smtps-session-look--octets smtps-session-show-octets
        header-line-format '(:eval (smtps-session-look--header)))
  ;; Each line begins with a word from left to right.  To find that out, and to
  ;; pair the brackets of very many ^[, takes redisplay long.
  (setq-local bidi-paragraph-direction 'left-to-right)
  (setq-local bidi-inhibit-bpa t))

(defun smtps-session-look--begin ()
  "A connection begins: nothing has left, no reply has come."
  (setq smtps-session-look--left nil
        smtps-session-look--last-left 0
        smtps-session-look--took nil))

(defun smtps-session-look--message-p (event)
  "Return non-nil if the line of EVENT, which was sent, is one of a message."
  (and (eq (plist-get event :verb) 'other)
       (or smtps-session--data (plist-get event :led))))

(defun smtps-session-look--sent (event)
  "Note when the line of EVENT left; return what is shown of it."
  (let ((at (plist-get event :at)))
    (when at
      (setq smtps-session-look--last-left at)
      (unless (smtps-session-look--message-p event)
        (setq smtps-session-look--left
              (append smtps-session-look--left
                      (list (cons (plist-get event :verb) at))))
        (format "at %s" (smtps-session-look--seconds at))))))

(defun smtps-session-look--received (event)
  "Note how long the reply of EVENT took; return what is shown of it.
Of a reply of several lines it is the last that tells it."
  (let ((at (plist-get event :at))
        (verb (plist-get event :verb)))
    (when (and at verb (smtps-session-look--last-line-p (plist-get event :text)))
      (let ((command (assq verb smtps-session-look--left)))
        (setq smtps-session-look--took
              (- at (cond (command (cdr command))
                          ((eq verb 'greeting) 0)
                          ;; What smtps sends of a message has no verb of its own.
                          (t smtps-session-look--last-left))))
        (when command
          (setq smtps-session-look--left
                (cdr (memq command smtps-session-look--left))))
        (smtps-session-look--seconds smtps-session-look--took)))))

(defun smtps-session-look--last-line-p (text)
  "Return non-nil if TEXT is the last line of a reply, or the only one."
  (not (and (> (length text) 3) (eq (aref text 3) ?-))))

(defun smtps-session-look--seconds (milliseconds)
  "Return MILLISECONDS in words for a person."
  (if (< milliseconds 1000) (format "%d ms" milliseconds)
    (format "%.2f s" (/ milliseconds 1000.0))))

(defun smtps-session-look--end (break)
  "Return a display property for a line's end that is BREAK, a text."
  `(when smtps-session-look--octets
     . ,(concat (propertize break 'face 'smtps-session-octet) "\n")))

(defconst smtps-session-look--crlf (smtps-session-look--end "\\r\\n")
  "What is shown at will of a line that CR LF ended.")

(defconst smtps-session-look--lf (smtps-session-look--end "\\n")
  "What is shown at will of a line that LF alone ended.")

(defun smtps-session-look--end-with-time (end time)
  "Return a display property as END is, with TIME where that is wanted."
  (let ((beside (propertize (format "  [%s]" time) 'face 'smtps-session-time)))
    `((when (and smtps-session-look--octets (not smtps-session-look--times))
        . ,(cddr end))
      (when (and smtps-session-look--octets smtps-session-look--times)
        . ,(concat (substring (cddr end) 0 -1) beside "\n"))
      (when (and smtps-session-look--times (not smtps-session-look--octets))
        . ,(concat beside "\n")))))

(defun smtps-session-look--wire (time bare)
  "Return text properties of a line that went over the wire.
TIME is a string, or nil where the line has none.  If BARE, LF alone ended it."
  (list 'smtps-session-wire (cond (time (cons time bare))
                                  ;; Constants, since a flood is made of these.
                                  (bare '(nil . t))
                                  (t '(nil . nil)))))

(defun smtps-session-look--dress (beg end)
  "Give the lines from BEG to END times and octets, if any are shown."
  (when (or smtps-session-look--times smtps-session-look--octets)
    (let ((inhibit-field-text-motion t))
      (save-excursion
        (save-match-data
          (goto-char beg)
          (while (< (point) end)
            (let ((wire (get-text-property (point) 'smtps-session-wire)))
              (when wire
                (smtps-session-look--dress-line (car wire) (cdr wire))))
            (forward-line 1)))))))

(defun smtps-session-look--dress-line (time bare)
  "Give the line behind point TIME and its octets, to be shown at will.
TIME and BARE are as in `smtps-session-look--wire'."
  (let* ((eol (line-end-position))
         (end (if bare smtps-session-look--lf smtps-session-look--crlf)))
    (pcase-dolist (`(,from . ,to) (smtps-session-look--runs eol))
      (put-text-property from to 'display
                         (smtps-session-look--octets
                          (buffer-substring-no-properties from to))))
    (put-text-property eol (1+ eol) 'display
                       (if time (smtps-session-look--end-with-time end time) end))))

(defconst smtps-session-look--runs-limit 32
  "Runs of characters that are not ASCII of which each is displayed by itself.
Emacs's display gets slow by very many in a line.")

(defun smtps-session-look--runs (end)
  "Return where the text from point to END is not ASCII: a list of (FROM . TO).
Where that is at too many places, it is one, with the ASCII between them."
  (let (runs)
    (while (re-search-forward "[^[:ascii:]]+" end t)
      (push (cons (match-beginning 0) (match-end 0)) runs))
    (if (nthcdr smtps-session-look--runs-limit runs)
        (list (cons (caar (last runs)) (cdar runs)))
      runs)))

(defun smtps-session-look--octets (text)
  "Return a display property for TEXT: its octets, but for ASCII."
  (cons 'when
        (cons 'smtps-session-look--octets
              (propertize (mapconcat (lambda (octet)
                                       (if (< octet 128) (string octet)
                                         (format "\\x%02x" octet)))
                                     (encode-coding-string text 'utf-8) "")
                          'face 'smtps-session-octet))))

(defun smtps-session-look--dress-anew ()
  "Give all lines times and octets if any are shown, or take them away."
  (with-silent-modifications
    (save-restriction
      (widen)
      (if (or smtps-session-look--times smtps-session-look--octets)
          (smtps-session-look--dress (point-min) smtps-session--prompt-start)
        (remove-text-properties (point-min) smtps-session--prompt-start
                                '(display nil))))))

(defun smtps-session-look--redraw (what shown)
  "Draw this buffer anew, and say whether WHAT is SHOWN from now on."
  (when (derived-mode-p 'smtps-session-mode)
    (smtps-session-look--dress-anew))
  (force-window-update (current-buffer))
  (message "%s are %s" what (if shown "shown" "not shown")))

(defun smtps-session-toggle-times ()
  "Show how long each reply took, and when each command left; or do not any more."
  (interactive)
  (setq smtps-session-look--times (not smtps-session-look--times))
  (smtps-session-look--redraw "Times" smtps-session-look--times))

(defun smtps-session-toggle-octets ()
  "Show line ends, and octets that are not ASCII as \\xNN; or do not any more.
What is no UTF-8, and control characters, are shown as what they are always."
  (interactive)
  (setq smtps-session-look--octets (not smtps-session-look--octets))
  (smtps-session-look--redraw "Octets" smtps-session-look--octets))

;;;; Above the buffer

(defun smtps-session-look--header ()
  "Return the line above: the server, TLS, who is logged in, state, round trip."
  (string-replace
   "%" "%%"
   (string-join
    (delq nil
          (list
           (format " %s:%s" (plist-get smtps-session--arguments :host)
                   (plist-get smtps-session--arguments :port))
           (cond (smtps-session-tls
                  (propertize smtps-session-tls 'face 'smtps-session-tls))
                 ((memq smtps-session-state '(closed opening nil)) nil)
                 (t "in clear"))
           (and smtps-session-mechanism
                (if smtps-session-user
                    (format "%s (%s)" smtps-session-user smtps-session-mechanism)
                  (format "logged in (%s)" smtps-session-mechanism)))
           (symbol-name (or smtps-session-state 'closed))
           (and smtps-session-look--took
                (smtps-session-look--seconds smtps-session-look--took))))
    "  ")))

(provide 'smtps-session-look)
;;; smtps-session-look.el ends here
